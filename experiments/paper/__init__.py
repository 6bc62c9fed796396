"""The paper's tables and figures: what to run, how it is collected, the report (`python -m experiments.paper -h`)."""
