"""Where words of a figure lie."""

import itertools
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Words of a figure that are drawn over each other."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    left_out = {text for axes in figure.axes for text in _not_drawn(axes)}
    words = [text for text in figure.findobj(Text) if isinstance(text, Text) and text not in left_out]
    # A box is a little larger than its words.
    boxes = [
        (text.get_text(), text.get_window_extent(canvas.get_renderer()).padded(-1))
        for text in words
        if text.get_visible() and text.get_text()
    ]
    return [
        (words, others) for (words, box), (others, other) in itertools.combinations(boxes, 2) if box.overlaps(other)
    ]


def _not_drawn(axes: Axes) -> list[Text]:
    """Words at ticks beyond the limits of an axis, or of axes that are switched off."""
    found = []
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not (axes.axison and low <= tick.get_loc() <= high):
                found += [tick.label1, tick.label2]
    return found
