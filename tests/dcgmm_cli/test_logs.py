import logging

from dcgmm_cli.logs import FileFormatter, TerminalFormatter


def test_a_record_can_be_written_whatever_names_it_holds() -> None:
    record = logging.LogRecord("x", logging.WARNING, "", 0, "%s: left out", ("cr\udcffck/日本.png",), None)
    assert TerminalFormatter(3).format(record) == "#3 warning: cr\\udcffck/日本.png: left out"
    assert FileFormatter("%(levelname)s %(message)s").format(record) == "WARNING cr\\udcffck/日本.png: left out"
