"""The parts of the GPU check: each a module with `run(note, device, quick)`."""

# Name and most seconds, in order of worth: a part that finds less than 10 s left is skipped.
PARTS = {
    "environment": 40,
    "tests": 90,
    "fused": 90,
    "correct": 90,
    "factors": 60,
    "use": 50,
    "kernels": 50,
    "steps": 110,
    "commands": 130,
}
