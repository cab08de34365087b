"""Charts: where the bars, points, ticks and labels of a chart lie; page.html.j2 draws them as SVG.

Drawn by the page's own classes, they follow light, dark and print, and a Content-Security-Policy that allows no style
attributes, which those of matplotlib are made of; and they are a tenth as long.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 18, 40  # of the frame, from the edges
TICKS = 5


class Tick(NamedTuple):
    """A place on an axis, px, and what stands there."""

    at: float
    text: str


class Mark(NamedTuple):
    """A line across the chart; side: where its text stands, start or end."""

    at: float
    text: str
    side: str


class Bar(NamedTuple):
    """A bar, px; low, high and count: what it stands for."""

    x: float
    y: float
    width: float
    height: float
    low: float
    high: float
    count: int


class Series(NamedTuple):
    """Bars, or points as the d of a path, of one name; label: where that stands on a map."""

    name: str
    bars: list[Bar]
    path: str = ""
    label: tuple[float, float] = (0, 0)


class Chart(NamedTuple):
    """What page.html.j2 draws."""

    series: list[Series]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    x_label: str
    y_label: str
    marks: list[Mark]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def histogram(
    edges: Sequence[float], counts: Mapping[str, Sequence[int]], x_label: str, marks: Mapping[str, float] | None = None
) -> Chart:
    """Bars of counts (name -> count of each bin); of several names, the share of each name's own.

    marks: text -> place.
    """
    totals = {name: max(sum(values), 1) for name, values in counts.items()} if len(counts) > 1 else {}
    used = [i for values in counts.values() for i, value in enumerate(values) if value]
    marks = marks or {}
    low = min([edges[min(used, default=0)], *marks.values()])
    high = max([edges[max(used, default=0) + 1], *marks.values()])
    heights = {
        name: [value / totals[name] * 100 if totals else value for value in values] for name, values in counts.items()
    }
    most = max(max(values) for values in heights.values()) or 1
    x, y = _scale(low, high, LEFT, WIDTH - RIGHT), _scale(0, most, HEIGHT - BOTTOM, TOP)
    series = [
        Series(
            name,
            [
                Bar(_px(x(a)), _px(y(height)), _px(x(b) - x(a)), _px(y(0) - y(height)), a, b, count)
                for a, b, height, count in zip(edges, edges[1:], values, counts[name], strict=False)
                if count
            ],
        )
        for name, values in heights.items()
    ]
    y_label = "share of each, %" if totals else "how many"
    lines = [Mark(_px(x(at)), text, "start" if x(at) < WIDTH / 2 else "end") for text, at in marks.items()]
    return Chart(series, _ticks(low, high, x), _ticks(0, most, y), x_label, y_label, lines)


def scatter(points: Mapping[str, NDArray[np.float64]], x_label: str, y_label: str) -> Chart:
    """Points (n, 2) of each name, drawn in this order, at the same scale on both axes."""
    together = np.concatenate(list(points.values()))
    low, high = together.min(axis=0), together.max(axis=0)
    side = HEIGHT - TOP - BOTTOM, WIDTH - LEFT - RIGHT
    unit = max((high[1] - low[1]) / side[0], (high[0] - low[0]) / side[1]) or 1.0  # of a px
    centre = (low + high) / 2
    half = unit * side[1] / 2 * 1.04, unit * side[0] / 2 * 1.04
    x = _scale(centre[0] - half[0], centre[0] + half[0], LEFT, WIDTH - RIGHT)
    y = _scale(centre[1] - half[1], centre[1] + half[1], HEIGHT - BOTTOM, TOP)
    series = []
    for name, some in points.items():
        at = [(_px(x(a)), _px(y(b))) for a, b in some.tolist()]
        middle = np.median(at, axis=0).tolist() if at else (0, 0)
        series.append(Series(name, [], "".join(f"M{a} {b}h0" for a, b in at), (_px(middle[0]), _px(middle[1]))))
    ticks = (
        _ticks(centre[0] - half[0], centre[0] + half[0], x),
        _ticks(centre[1] - half[1], centre[1] + half[1], y),
    )
    return Chart(series, *ticks, x_label, y_label, [])


class _scale:  # noqa: N801 a function with two constants
    """Values from low to high -> px from start to stop."""

    def __init__(self, low: float, high: float, start: float, stop: float) -> None:
        self._low, self._start = low, start
        self._px = (stop - start) / ((high - low) or 1)

    def __call__(self, value: float) -> float:
        return self._start + (value - self._low) * self._px


def _ticks(low: float, high: float, scale: _scale) -> list[Tick]:
    """Some round numbers from low to high: multiples of 1, 2 or 5 and a power of ten."""
    rough = (high - low) / TICKS or 1
    power = 10 ** math.floor(math.log10(rough))
    unit = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)
    first, last = math.ceil(low / unit - 1e-9), math.floor(high / unit + 1e-9)
    digits = max(0, -math.floor(math.log10(unit) + 1e-9))
    return [Tick(_px(scale(i * unit)), f"{i * unit:,.{digits}f}") for i in range(first, last + 1)]


def _px(value: float) -> float:
    return round(value, 1)
