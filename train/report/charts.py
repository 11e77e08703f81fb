"""Charts as inline SVG: matplotlib draws, the page's style sheet colours, in light and in dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from train.tracking import moving_charts

# Colours that stand for a variable of the style sheet until the chart is written.
_INK, _LINE = "#010101", "#010102"
_SERIES = ("#010103", "#010104", "#010105", "#010106")
_VARIABLES = dict(
    zip((_INK, _LINE, *_SERIES), ("ink", "line", "c1", "c2", "c3", "c4"), strict=True)
)
_DASHES = ("-", (0, (4, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _LINE,
    "legend.frameon": False,
}
_BINS = 30


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: above it.
        svg: an `<svg>` element, which scales with its place.
    """

    title: str
    svg: Markup


def curve_charts(curves: Sequence[Mapping[str, float]]) -> list[Chart]:
    """How a Selector was trained: the charts of `selector.png`.

    Args:
        curves: figures of each step, as `selector.reinforce.train_selector` logs them.
    """
    charts = []
    for title, lines in moving_charts(curves):
        with _Drawing(title, "step") as drawing:
            drawing.axes.xaxis.get_major_locator().set_params(integer=True)
            for number, (key, points) in enumerate(lines.items()):
                steps, values = zip(*points, strict=True)
                few = len(points) < max(len(curves) / 4, 2)
                drawing.axes.plot(
                    steps, values, color=_SERIES[number], ls=_DASHES[number], lw=1.4,
                    marker="o" if few else None, ms=3.5, label=_name(key),
                )  # fmt: skip
            drawing.legend(len(lines))
        last = ", ".join(f"{_name(key)} {lines[key][-1][1]:.3g}" for key in lines)
        charts.append(drawing.chart(f"{title}, over {len(curves)} steps; at the end: {last}"))
    return charts


def _name(key: str) -> str:
    """A figure as the axes call it."""
    return {"baseline": "δ", "probe_auroc": "probe AUROC"}.get(
        key, key.replace("_", " ").replace("omega", "ω")
    )


def omega_chart(
    chosen: NDArray[np.float64], sample: NDArray[np.float64], threshold: float
) -> Chart:
    """How ω is spread over the pool and over the chosen pairs.

    Args:
        chosen: float64 [n], ω of the chosen pairs.
        sample: float64 [m], ω of pairs drawn from the pool; m may be 0.
        threshold: the smallest chosen ω.
    """
    everything = np.concatenate([chosen, sample])
    low, high = float(everything.min()), float(everything.max())
    edges = np.linspace(low, max(high, low + 1e-6), _BINS + 1)
    with _Drawing("ω of the chosen pairs and of the pool", "ω") as drawing:
        if len(sample):
            shares = np.full(len(sample), 1 / len(sample))
            drawing.axes.hist(
                sample, edges, weights=shares, color=_SERIES[1], alpha=0.45, label="pool"
            )
        shares = np.full(len(chosen), 1 / len(chosen))
        drawing.axes.hist(
            chosen, edges, weights=shares, color=_SERIES[0], histtype="step", lw=1.6,
            label="chosen",
        )  # fmt: skip
        drawing.axes.axvline(threshold, color=_INK, lw=1, ls="--", label="threshold")
        drawing.axes.set_ylabel("share of the pairs")
        drawing.legend(3)
    return drawing.chart(
        f"Histogram of ω from {low:.3f} to {high:.3f}: the chosen pairs lie above the threshold "
        f"{threshold:.3f}"
    )


def arms_chart(arms: Mapping[str, Sequence[float]]) -> Chart:
    """Top-1 of every repeat, and mean and standard deviation of each arm.

    Args:
        arms: what an arm is called ─► its repeats, 0..1.
    """
    height = 0.6 + 0.42 * len(arms)
    with _Drawing("top-1 of each repeat, with mean and sd", "top-1, %", height) as drawing:
        for place, top1s in enumerate(arms.values()):
            values, row = 100 * np.array(top1s), len(arms) - 1 - place
            spread = values.std(ddof=1) if len(values) > 1 else 0.0
            drawing.axes.errorbar(values.mean(), row, xerr=spread, fmt="|", ms=12, capsize=3,
                                  color=_SERIES[0] if place == 0 else _INK)  # fmt: skip
            drawing.axes.plot(values, np.full(len(values), row), "o", ms=4, alpha=0.55,
                              color=_SERIES[0] if place == 0 else _INK)  # fmt: skip
        drawing.axes.set_yticks(range(len(arms)), list(arms)[::-1])
        drawing.axes.set_ylim(-0.6, len(arms) - 0.4)
    said = "; ".join(f"{name} {100 * np.mean(values):.1f} %" for name, values in arms.items())
    return drawing.chart(f"Top-1 accuracy: {said}")


def scene_chart(arms: Mapping[str, Mapping[str, tuple[float, float]]]) -> Chart:
    """The forms of the scene test, one bar for each arm, with standard errors.

    Args:
        arms: what an arm is called ─► what a figure is called ─► (mean, its error), 0..1; all with
            the same figures. An error may be NaN.
    """
    figures = list(next(iter(arms.values())))
    thick = 0.8 / len(arms)
    height = 0.9 + len(figures) * (0.2 + 0.16 * len(arms))
    with _Drawing("the scene test, with standard errors over recordings", "%", height) as drawing:
        for number, (name, values) in enumerate(arms.items()):
            places = [-i - (number - (len(arms) - 1) / 2) * thick for i in range(len(figures))]
            means, errors = (100 * np.array([values[f][i] for f in figures]) for i in (0, 1))
            drawing.axes.barh(
                places, means, thick * 0.9, xerr=np.nan_to_num(errors), label=name,
                color=_SERIES[number % len(_SERIES)], alpha=0.75,
                error_kw={"ecolor": _INK, "elinewidth": 1, "capsize": 2},
            )  # fmt: skip
        drawing.axes.axvline(0, color=_INK, lw=0.8)
        drawing.axes.set_yticks([-i for i in range(len(figures))], figures)
        drawing.legend(len(arms))
    said = "; ".join(
        f"{name}: " + ", ".join(f"{figure} {100 * mean:.1f} %" for figure, (mean, _) in row.items())
        for name, row in arms.items()
    )
    return drawing.chart(f"Accuracy in each form of the test clips: {said}")


def lines_chart(
    title: str, across: str, places: Sequence[float], lines: Mapping[str, Sequence[float | None]]
) -> Chart:
    """Shares, 0..1, over rounds or thresholds, in per cent; None where there is no such share.

    Args:
        title: above it.
        across: what the axis below it is.
        places: on that axis, [n].
        lines: what a line is called ─► its n values.
    """
    few = len(places) <= _FEW
    with _Drawing(title, across) as drawing:
        for number, (name, values) in enumerate(lines.items()):
            shown = [np.nan if value is None else 100 * value for value in values]
            drawing.axes.plot(
                places, shown, color=_SERIES[number], ls=_DASHES[number], lw=1.6,
                marker="o" if few else None, ms=4, label=name,
            )  # fmt: skip
        drawing.axes.set_ylim(0, 102)
        drawing.axes.set_ylabel("%")
        if few:
            drawing.axes.set_xticks(places)
        drawing.legend(len(lines))
    said = "; ".join(f"{name} {_ends(values)}" for name, values in lines.items())
    return drawing.chart(f"{title}: {said}")


_FEW = 12
"""Points of a line up to which each is marked."""
_HATCHES = (None, "////", "....", "xxxx")


def _ends(values: Sequence[float | None]) -> str:
    known = [100 * value for value in values if value is not None]
    return f"from {known[0]:.1f} to {known[-1]:.1f} %" if known else "unknown"


def stacked_chart(
    title: str, across: str, parts: Mapping[str, NDArray[np.float64]], threshold: float | None
) -> Chart:
    """Histogram of values 0..1, of several kinds on top of each other.

    Args:
        title: above it.
        across: what the values are.
        parts: what a kind is called ─► its values, float64 [n]; at most four.
        threshold: drawn as a line; None for none.
    """
    edges = np.linspace(0, 1, 21)
    below = np.zeros(len(edges) - 1)
    with _Drawing(title, across) as drawing:
        for number, (name, values) in enumerate(parts.items()):
            counts = np.histogram(values, edges)[0]
            drawing.axes.bar(
                edges[:-1], counts, np.diff(edges), below, align="edge", label=name, alpha=0.75,
                color=_SERIES[number], hatch=_HATCHES[number], edgecolor=_INK, lw=0.4,
            )  # fmt: skip
            below += counts
        if threshold is not None:
            drawing.axes.axvline(threshold, color=_INK, lw=1, ls="--", label="threshold")
        drawing.axes.yaxis.get_major_locator().set_params(integer=True)
        drawing.axes.set_ylabel("videos")
        drawing.legend(len(parts) + 1)
    said = "; ".join(
        f"{name} {len(values)}, mean {values.mean():.2f}" if len(values) else f"{name} none"
        for name, values in parts.items()
    )
    return drawing.chart(f"{title}: {said}")


class _Drawing:
    """One figure, drawn under the page's style; use as a context manager, then ask for `chart`."""

    def __init__(self, title: str, across: str, height: float = 2.6) -> None:
        self._title, self._across, self._height = title, across, height

    def __enter__(self) -> _Drawing:
        import matplotlib as mpl
        from matplotlib.figure import Figure

        # The salt makes ids that no other chart of the page has, and the same ones each time.
        self._context = mpl.rc_context(_STYLE | {"svg.hashsalt": self._title})
        self._context.__enter__()
        figure = Figure(figsize=(4.4, self._height), layout="constrained")
        self.axes: Any = figure.add_subplot()
        self.axes.grid(alpha=0.5, lw=0.5)
        self.axes.set_xlabel(self._across)
        self._figure = figure
        return self

    def legend(self, count: int) -> None:
        """Name the lines below the chart, where they hide nothing."""
        self._figure.legend(loc="outside lower center", ncols=min(count, 3), fontsize=8)

    def __exit__(self, *error: object) -> None:
        buffer = io.StringIO()
        try:
            if error[0] is None:
                self._figure.savefig(buffer, format="svg", transparent=True)
        finally:
            self._context.__exit__(None, None, None)
        self._svg = buffer.getvalue()

    def chart(self, said: str) -> Chart:
        """The chart; `said` is its content in words, for those who cannot see it."""
        body = self._svg[self._svg.index("<svg") :]
        body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
        body = re.sub(r'<g id="[\w.]+_\d+">', "<g>", body)
        body = re.sub(r"font: (\S+) [^;\"]*", r"font-size: \1", body)
        for colour, name in _VARIABLES.items():
            body = body.replace(colour, f"var(--{name})")
        box = re.search(r'viewBox="[^"]+"', body)
        assert box is not None, "matplotlib gives every picture its box"
        start = Markup('<svg {} role="img" aria-label="{}">').format(Markup(box[0]), said)
        return Chart(self._title, start + Markup(body[body.index(">") + 1 :]))
