"""How log records look on the terminal; the run's log file has them in full."""

import logging


class TerminalFormatter(logging.Formatter):
    """The message alone: tracebacks belong to the run's log.

    Args:
        job: the number of the sweep's job that logs, if it is one: jobs may run side by side.
    """

    def __init__(self, job: int | None = None) -> None:
        super().__init__()
        self._job = "" if job is None else f"#{job} "

    def format(self, record: logging.LogRecord) -> str:
        """The record's message, marked if something is wrong."""
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return self._job + mark + record.getMessage()
