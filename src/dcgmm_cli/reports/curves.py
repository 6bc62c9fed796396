"""Lines over a common axis as SVG inside a page: small, sharp, without Matplotlib's start-up."""

import math
from collections.abc import Sequence
from html import escape

from dcgmm_cli.reports.content import Curves, printable

WIDTH, HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 40
# Told apart without colour too, by their dashes; each has a contrast of 3:1 and more to white and to near black.
_STYLES = (("#1f77b4", ""), ("#d1495b", "8 3"), ("#2a8c4a", "2 3"), ("#9467bd", "10 3 2 3"), ("#a5691e", "5 5"))
_POINTS = 300  # of a line, at most


def drawing(curves: Curves) -> str:
    """Curves as a figure with a legend. The first points, far below all that follows, may leave the axes."""
    every = [value for _, _, values in curves.lines for value in values if math.isfinite(value)]
    if not every:
        return ""
    low, high = sorted(every)[int(0.03 * len(every))], max(every)
    right = max(x for _, xs, _ in curves.lines for x in xs)
    margin = 0.05 * (high - low) or 1.0
    scale = _Scale(min(0.0, *(x for _, xs, _ in curves.lines for x in xs)), right or 1.0, low - margin, high + margin)
    lines, legend = [], []
    for number, (name, xs, ys) in enumerate(curves.lines):
        colour, dash = _STYLES[number % len(_STYLES)]
        style = f'fill="none" stroke="{colour}" stroke-width="1.6" stroke-dasharray="{dash}"'
        lines.append(f'<polyline clip-path="inset(0)" {style} points="{scale.points(xs, ys)}"/>')
        sample = f'<svg viewBox="0 0 40 8" style="width:40px" aria-hidden="true"><path d="M0 4H40" {style}/></svg>'
        legend.append(f"<li>{sample} {_text(name)}</li>")
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_text(curves.title)}">'
        f"{scale.axes(_text(curves.x), _text(curves.y))}{''.join(lines)}</svg>"
        f"<figcaption>{_text(curves.title)}<ul>{''.join(legend)}</ul></figcaption></figure>\n"
    )


def _text(text: str) -> str:
    return escape(printable(text))


class _Scale:
    """From values to places in the drawing."""

    def __init__(self, left: float, right: float, low: float, high: float) -> None:
        self._x, self._y = (left, right), (low, high)

    def x(self, value: float) -> float:
        """Horizontal place of a value."""
        left, right = self._x
        return _LEFT + (value - left) / (right - left) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Vertical place of a value, kept inside the drawing."""
        low, high = self._y
        return HEIGHT - _BOTTOM - (max(low, value) - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    def points(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        """A line's points, thinned out."""
        step = max(1, len(xs) // _POINTS)
        kept = [pair for number, pair in enumerate(zip(xs, ys, strict=True)) if number % step == 0 or pair[0] == xs[-1]]
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in kept if math.isfinite(y))

    def axes(self, x: str, y: str) -> str:
        """Ticks with numbers, a frame, and what the axes are."""
        parts = [
            f'<path d="M{_LEFT} {_TOP}V{HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}" fill="none" stroke="currentColor"/>',
            f'<text x="{(WIDTH + _LEFT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{x}</text>',
            f'<text transform="translate(12 {HEIGHT / 2 - 10}) rotate(-90)" text-anchor="middle">{y}</text>',
        ]
        parts += [
            f'<text x="{self.x(value):.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:g}</text>'
            for value in ticks(*self._x)
        ]
        for value in ticks(*self._y):
            place = self.y(value)
            parts.append(f'<path d="M{_LEFT} {place:.1f}H{WIDTH - _RIGHT}" stroke="currentColor" opacity=".15"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">{value:g}</text>')
        return "".join(parts)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high.

    Examples:
        >>> ticks(0, 25), ticks(-0.3, 0.4)
        ([0.0, 5.0, 10.0, 15.0, 20.0, 25.0], [-0.2, 0.0, 0.2, 0.4])
    """
    rough = (high - low) / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough * 0.999)
    return [
        round(number * step, 12) for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]
