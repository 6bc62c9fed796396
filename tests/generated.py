"""What tests of generated input share: values that nobody would think of, and how many are tried.

Usually the same few; `make stress STRESS=100` tries a hundred times as many, others each time.
"""

import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

STRESS = int(os.environ.get("STRESS", "0"))


def examples(count: int) -> settings:
    """So many examples."""
    return settings(
        max_examples=count * max(1, STRESS),
        derandomize=not STRESS,
        database=None,
        phases=[Phase.explicit, Phase.generate],  # a failing example need not be the smallest: that takes minutes
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


NUMBERS = st.one_of(
    st.integers(-3, 30),
    st.floats(0, 2, allow_subnormal=False),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**400, -(10**400)]),
    st.floats(allow_subnormal=False),  # torch has them flushed to 0
)
TEXTS = st.one_of(
    st.sampled_from(
        ["", "null", "auto", "cuda:99", "latest", "../../x", "/dev/null", "${oc.env:HOME}", "\ud800", "a'b"]
    ),
    st.text(max_size=8),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
INNER = 3  # values in a list or dictionary, at most
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=INNER), st.dictionaries(TEXTS, inner, max_size=INNER)),
    max_leaves=6,
)
