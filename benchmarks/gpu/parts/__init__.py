"""The parts of the GPU check: each a module with `run(note, device, quick)`."""

# Name and most seconds, in order of worth: a part that finds less than 10 s left is skipped.
PARTS = {
    "environment": 30,
    "tests": 120,
    "fused": 60,
    "correct": 70,
    "steps": 90,
    "commands": 130,
    "beside": 40,
    "use": 50,
    "factors": 60,
    "kernels": 50,
}
