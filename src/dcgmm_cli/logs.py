"""How log records look on the terminal; the run's log file has them in full."""

import logging

LOG_ALONE = {"log_alone": True}  # `extra` of records that the terminal shows in another form


class TerminalFilter(logging.Filter):
    """Keeps from the terminal what is for the log alone."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the terminal shows a record."""
        return not getattr(record, "log_alone", False)


class FileFormatter(logging.Formatter):
    """The whole record; bytes in it that are no UTF-8, as names of files may hold, are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a log file takes it."""
        return encodable(super().format(record))


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
        return encodable(self._job + mark + record.getMessage())


def encodable(text: str) -> str:
    """A text that can be written as UTF-8."""
    return text.encode(errors="backslashreplace").decode()
