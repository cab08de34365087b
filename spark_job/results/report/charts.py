"""Charts: where the bars, points, ticks and labels of a chart lie; page.html.j2 draws them as SVG.

Drawn by the page's own classes, they follow light, dark and print, and a Content-Security-Policy that allows no style
attributes, which those of matplotlib are made of; and they are a tenth as long.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, MAP_HEIGHT = 480, 250, 360
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 26, 40  # of the frame, from the edges
TICKS = 6
MARGIN = 1.06  # around what is on a map


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
    """A bar, px; low, high and holds: what it stands for, and how many."""

    x: float
    y: float
    width: float
    height: float
    low: float
    high: float
    holds: int


class Series(NamedTuple):
    """Bars, or points as the d of a path, of one name; colour: its number in style.css."""

    name: str
    colour: int
    bars: list[Bar]
    path: str = ""


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
            colour,
            [
                Bar(_px(x(a)), _px(y(height)), _px(x(b) - x(a)), _px(y(0) - y(height)), a, b, count)
                for a, b, height, count in zip(edges, edges[1:], values, counts[name], strict=False)
                if count
            ],
        )
        for colour, (name, values) in enumerate(heights.items(), 1)
    ]
    y_label = "share of each, %" if totals else "how many"
    lines = [Mark(_px(x(at)), text, "start" if x(at) < WIDTH / 2 else "end") for text, at in marks.items()]
    return Chart(series, _ticks(low, high, x), _ticks(0, most, y), x_label, y_label, lines)


def scatter(points: Mapping[str, NDArray[np.float64]], x_label: str, y_label: str) -> Chart:
    """Points (n, 2) of each name, drawn in this order, at the same scale on both axes. Those of "" are in gray."""
    together = np.concatenate(list(points.values()))
    low, high = together.min(axis=0), together.max(axis=0)
    width, height = WIDTH - LEFT - RIGHT, MAP_HEIGHT - TOP - BOTTOM
    unit = MARGIN * max((high[0] - low[0]) / width, (high[1] - low[1]) / height) or 1.0  # of a px
    (left, bottom), (right, top) = ((low + high + sign * unit * np.array([width, height])) / 2 for sign in (-1, 1))
    x, y = _scale(left, right, LEFT, WIDTH - RIGHT), _scale(bottom, top, MAP_HEIGHT - BOTTOM, TOP)
    series = [
        Series(name, colour, [], "".join(f"M{_px(x(a))} {_px(y(b))}h0" for a, b in some.tolist()))
        for colour, (name, some) in enumerate(points.items(), 0 if "" in points else 1)
    ]
    ticks = _ticks(left, right, x), _ticks(bottom, top, y)
    return Chart(series, *ticks, x_label, y_label, [], height=MAP_HEIGHT, bottom=MAP_HEIGHT - BOTTOM)


def _scale(low: float, high: float, start: float, stop: float) -> Callable[[float], float]:
    """Values from low to high -> px from start to stop."""
    px = (stop - start) / ((high - low) or 1)
    return lambda value: start + (value - low) * px


def _ticks(low: float, high: float, scale: Callable[[float], float]) -> list[Tick]:
    """Some round numbers from low to high: multiples of 1, 2 or 5 and a power of ten."""
    rough = (high - low) / TICKS or 1
    power = 10 ** math.floor(math.log10(rough))
    unit = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)
    first, last = math.ceil(low / unit - 1e-9), math.floor(high / unit + 1e-9)
    digits = max(0, -math.floor(math.log10(unit) + 1e-9))
    return [Tick(_px(scale(i * unit)), f"{i * unit:,.{digits}f}") for i in range(first, last + 1)]


def _px(value: float) -> float:
    return round(value, 1)
