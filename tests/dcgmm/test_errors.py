import pickle

import pytest

from dcgmm.errors import InputError, OptionError
from dcgmm.training.options import TrainerOptions


def test_a_mistake_is_a_value_error() -> None:
    assert issubclass(OptionError, InputError)
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), ("", "empty"), ([], "empty"), ([1, 2], "[1, 2]"), ("x y", "x y")]
)
def test_the_message_names_field_rule_and_value(value: object, shown: str) -> None:
    error = OptionError("epochs", "a whole number", value, TrainerOptions)
    assert str(error) == f"epochs must be a whole number, not {shown}"
    assert (error.field, error.rule, error.value, error.owner) == ("epochs", "a whole number", value, TrainerOptions)


def test_what_was_never_given_is_no_value() -> None:
    assert str(OptionError("path", "a folder", None)) == "path must be a folder; it is not given"
    assert str(OptionError("path", "given", None)) == "path must be given"
    with pytest.raises(OptionError, match=r"^weights_by_use must be true or false, not null$"):
        TrainerOptions(weights_by_use=None)  # type: ignore[arg-type]


def test_a_prefix_goes_before_the_field() -> None:
    error = OptionError("gamma", "x", 1, TrainerOptions)
    assert error.under("trainer.annealing").field == "trainer.annealing.gamma"
    assert str(error.under("")) == str(error)


def test_it_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(OptionError("epochs", "x", [0], TrainerOptions)))
    assert (error.field, error.rule, error.value, error.owner) == ("epochs", "x", [0], TrainerOptions)
    assert str(error) == "epochs must be x, not [0]"
