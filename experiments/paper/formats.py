"""Numbers of the report as texts."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.paper.claims import mean
from experiments.paper.estimates import Interval
from experiments.paper.published import ARCHS


def interval_texts(interval: Interval | None) -> tuple[str, str, str]:
    """Estimate with its error, interval and number of runs."""
    if interval is None:
        return "", "", ""
    text = f"{signed(interval.low)} to {signed(interval.high)}"
    return f"{signed(interval.estimate)} ± {interval.error:.2g}", text, str(interval.runs)


def signed(value: float) -> str:
    """A number with its sign."""
    return f"{value:+.3f}" if abs(value) < 100 else f"{value:+.1f}"


def number(value: float | None, digits: int) -> str:
    """A number with so many digits after the point; empty for none."""
    return "" if value is None else f"{value:.{digits}f}"


def mean_text(numbers: Sequence[float] | None, digits: int) -> str:
    """Mean and deviation."""
    if not numbers:
        return "missing"
    deviation = f" ± {statistics.stdev(numbers):.{digits}f}" if len(numbers) > 1 else ""
    return f"{mean(numbers):.{digits}f}{deviation}"


def line(by_arch: Mapping[str, float], best: Any, digits: int, absent: str = "missing") -> list[str]:
    """A value for each architecture, the best ones bold."""
    winner = best(by_arch.values()) if by_arch else None
    texts = {arch: f"{value:.{digits}f}" for arch, value in by_arch.items()}
    return [f"**{texts[arch]}**" if by_arch.get(arch) == winner else texts.get(arch, absent) for arch in ARCHS]


def counted(counts: Mapping[str, int]) -> str:
    """Texts with how often each was counted."""
    return next(iter(counts)) if len(counts) == 1 else "; ".join(f"{text} ({count})" for text, count in counts.items())
