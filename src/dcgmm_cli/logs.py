"""How log records look on the terminal; the run's log file has them in full."""

import logging


class TerminalFormatter(logging.Formatter):
    """The message alone: tracebacks belong to the run's log."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's message, marked if something is wrong."""
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return mark + record.getMessage()
