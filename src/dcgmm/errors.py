"""The one kind of exception that stands for a mistake in what was given."""

from typing import Any


class InputError(ValueError):
    """What was given cannot be used: the message is one line that says what was given and what is allowed.

    The command line prints the message without a traceback and exits with code 2.

    Examples:
        >>> import dcgmm
        >>> try:
        ...     dcgmm.DCGMM.build((28, 28), dcgmm.arch("1L"))
        ... except dcgmm.InputError as error:
        ...     print(error)
        input_shape must be three positive whole numbers (H, W, C), not [28, 28]
    """


class OptionError(InputError):
    """An option or argument is out of its range.

    Args:
        field: its name; dotted below a prefix, as in `annealing.gamma`.
        rule: what it must be, as in `a whole number of at least 1`.
        value: what was given; None: nothing.
        owner: the class of options that has the field; None for an argument of a function.

    Examples:
        >>> import dcgmm
        >>> dcgmm.training.TrainerOptions(epochs=0)
        Traceback (most recent call last):
        dcgmm.errors.OptionError: epochs must be a whole number of at least 1, not 0
    """

    def __init__(self, field: str, rule: str, value: Any, owner: type | None = None) -> None:
        ending = f", not {'empty' if value in ('', []) else value}"
        if value is None:
            ending = "" if rule == "given" else "; it is not given"
        super().__init__(f"{field} must be {rule}{ending}")
        self.field, self.rule, self.value, self.owner = field, rule, value, owner

    def under(self, prefix: str) -> "OptionError":
        """The same error with the field named from above: `gamma` under `annealing` is `annealing.gamma`."""
        return OptionError(f"{prefix}.{self.field}" if prefix else self.field, self.rule, self.value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles: a sweep's jobs may fail in other processes."""
        return type(self), (self.field, self.rule, self.value, self.owner)


class LostProcessError(RuntimeError):
    """Another process of a training has ended, or cannot be reached: the message says which, and why.

    Examples:
        >>> raise LostProcessError("process 1 (host, pid 7) has ended without a word")
        Traceback (most recent call last):
        dcgmm.errors.LostProcessError: process 1 (host, pid 7) has ended without a word
    """
