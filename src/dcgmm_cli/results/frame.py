"""Runs as a pandas frame, for notebooks."""

from typing import Any

from dcgmm.errors import InputError
from dcgmm_cli.results.reading import find_runs
from dcgmm_cli.results.selecting import matching, tabulate


def frame(*paths: str, where: str = "command=train") -> Any:
    """All runs under some directories as a pandas DataFrame: a row each, a column each setting and result.

    Args:
        paths: directories with runs, by default runs/.
        where: a condition as `dcgmm results` takes it, such as command=outliers; empty takes all.

    Raises:
        InputError: pandas is not installed, there is no run, or no run has the condition's column.

    Examples:
        >>> frame("runs").groupby("arch")["layers.gmm1.test_log_likelihood"].mean()  # doctest: +SKIP
    """
    try:
        import pandas
    except ImportError:
        raise InputError("frame needs pandas: pip install pandas") from None
    table = tabulate(matching(find_runs(paths or ("runs",)), [where] if where else []), "all")
    return pandas.DataFrame(table.rows, columns=table.columns)
