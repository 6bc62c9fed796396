"""The parts of the GPU check: each a module with `run(note, device, quick)`."""

# Name and most seconds, in order of worth: a part that finds less than 10 s left is skipped.
PARTS = {
    "environment": 30,
    # Whether all is right: side by side, each on a core of its own, as they mostly wait for kernels to be compiled.
    "tests": 120,
    "fused": 120,
    "correct": 120,
    "winners": 60,
    "factors": 60,
    # What takes its time is measured alone, one after the other.
    "steps": 90,
    "commands": 130,
    "use": 50,
    "beside": 40,
    "kernels": 50,
}
TOGETHER = ("tests", "fused", "correct", "winners", "factors")
