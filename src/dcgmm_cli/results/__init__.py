"""A table over runs: what was configured, and what came out. Reads no checkpoints and no measurements."""
