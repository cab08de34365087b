"""The report's figures: each of them follows from the rows."""

import json
import re
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spark_job.results.report.charts import histogram, scatter
from spark_job.results.report.report import report

BIN = 2**-12  # of verification's distances


def cdist(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None] - b, axis=2)


class Page(HTMLParser):
    """figures: name -> values, as they stand; bars: chart -> (series, low, high, count); points: chart -> how many."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.figures: dict[str, list[float]] = defaultdict(list)
        self.bars: dict[str, list[tuple[str, float, float, int]]] = defaultdict(list)
        self.points: dict[str, int] = defaultdict(int)
        self.told: dict[str, str] = {}
        self._chart = self._series = ""
        self._of: str | None = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "figure":
            self._chart = found.get("id", "")
        if "data-series" in found:
            self._series = found["data-series"]
        if "data-figure" in found:
            self.figures[found["data-figure"]].append(float(found["value"]))
        if "data-count" in found:
            low, high = float(found["data-low"]), float(found["data-high"])
            self.bars[self._chart].append((self._series, low, high, int(found["data-count"])))
        if found.get("class") == "points":
            self.points[self._chart] += found["d"].count("M")


@pytest.fixture(scope="module")
def page(numbers) -> Page:
    report(numbers.output)
    return Page(Path(numbers.output, "report.html").read_text())


@pytest.fixture(scope="module")
def rows(numbers) -> pd.DataFrame:
    rows = pd.read_parquet(f"{numbers.output}/photos")
    with_face = rows.status == "ok"
    rows.loc[with_face, "embedding"] = rows.faces[with_face].map(lambda faces: faces[0]["embedding"])
    return rows


def expected(rows: pd.DataFrame, output: str) -> dict[str, list[float]]:
    """Figure -> values, by pandas from the rows alone; of what chance draws, by drawing again."""
    faces = rows[rows.status == "ok"].reset_index(drop=True)
    vectors = np.stack(faces.embedding).astype(float)
    mean = vectors.mean(axis=0)
    variances = np.linalg.eigvalsh(np.cov(vectors.T))[::-1]
    by_group = faces.groupby("group").embedding.apply(lambda some: np.stack(some).astype(float))
    groups = pd.DataFrame({"vectors": by_group})
    groups["count"] = groups.vectors.map(len)
    groups["mean"] = groups.vectors.map(lambda some: some.mean(axis=0))
    groups["spread"] = [np.linalg.norm(some - some.mean(axis=0), axis=1).mean() for some in groups.vectors]
    means = np.stack(groups["mean"])
    between = cdist(means, means)
    np.fill_diagonal(between, np.inf)
    groups["nearest"] = between.min(axis=1)
    groups = groups.reset_index().sort_values(["count", "group"], ascending=[False, True])
    status = rows.status.value_counts()
    failed = len(rows) - status["ok"] - status["no_face"]
    steps = rows[["decode_ms", "detect_ms", "embed_ms"]]
    distances = np.linalg.norm(vectors - mean, axis=1)
    return {
        "listed": [len(rows)],
        "ok": [status["ok"]],
        "without": [status["no_face"]],
        "failed": [failed],
        "photos-read": [status["ok"] + min(failed, 12) + status["no_face"]],
        **{f"status-{name}": [count] for name, count in status.items()},
        "count": [len(faces)] * 2,
        "norm": [np.linalg.norm(mean)] * 2,
        "groups": [len(groups)],
        "group-count": list(groups["count"]),
        "group-spread": list(groups["spread"]),
        "group-nearest-distance": list(groups["nearest"]),
        "largest-count": list(groups["count"][:12]),
        "largest-spread": list(groups["spread"][:12]),
        **{f"size-{low}": [groups["count"].between(low, high).sum()] for low, high in ((1, 1), (2, 2), (3, 4), (5, 8))},
        "distance-faces": [len(faces)],
        "distance-median": [np.median(distances)],
        "mean-norm": [np.linalg.norm(vectors, axis=1).mean()],
        "effective-dimension": [variances.sum() ** 2 / (variances**2).sum()],
        "explained": [variances[:2].sum() / variances.sum() * 100],
        "mapped": [len(faces)],
        "step-median": list(steps.quantile(0.5)),
        "step-most": list(steps.quantile(0.95)),
        "step-share": list(steps.sum() / steps.sum().sum() * 100),
        "seconds": [json.loads(Path(output, "mean.json").read_text())["seconds"]],
        **suspects(faces, vectors, output),
    }


def suspects(faces: pd.DataFrame, vectors: np.ndarray, output: str) -> dict[str, list[float]]:
    """Of the verdicts that outliers/ has, the distances that they rest on."""
    judged = pd.read_parquet(f"{output}/outliers")
    counts = {name: (judged.verdict == name).sum() for name in ("likely_mislabelled", "far", "duplicate", "ambiguous")}
    figures: dict[str, list[float]] = {f"verdict-{name}": [count] for name, count in counts.items()}
    figures |= {"suspects": [counts["likely_mislabelled"] + counts["far"]]}
    figures |= {name: [] for name in ("suspect-count", "suspect-distance", "suspect-nearest-distance")}
    order = judged.sort_values(["label_score", "path"])
    for verdict in ("likely_mislabelled", "far"):
        for path in order[order.verdict == verdict].path[:12]:
            [i] = np.flatnonzero(faces.path == path)
            others = faces.group == faces.group[i]
            figures["suspect-count"].append(others.sum())
            others[i] = False
            figures["suspect-distance"].append(np.linalg.norm(vectors[i] - vectors[others].mean(axis=0)))
            rest = [vectors[faces.group == group].mean(axis=0) for group in set(faces.group) - {faces.group[i]}]
            figures["suspect-nearest-distance"].append(np.linalg.norm(vectors[i] - rest, axis=1).min())
    return figures


def test_every_figure_is_that_of_the_rows(page, rows, numbers):
    known = expected(rows, numbers.output)
    for name, values in known.items():
        np.testing.assert_allclose(page.figures[name], values, rtol=1e-5, err_msg=name)
    drawn = {"draw-median", "draw-most", "norm-low", "norm-high"}
    compared = {name for name in page.figures if name.startswith(("pairs-", "templates-"))}
    assert set(page.figures) == set(known) | drawn | compared, "a figure that no test knows"


def test_what_another_draw_would_give_is_what_drawing_people_again_gives(page, rows):
    faces = rows[rows.status == "ok"]
    sums = np.stack(faces.groupby("group").embedding.apply(lambda some: np.stack(some).astype(float).sum(axis=0)))
    counts = faces.groupby("group").size().to_numpy()
    mean = sums.sum(axis=0) / counts.sum()
    times = np.random.default_rng(7).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), 4000)
    drawn = times @ sums / (times @ counts)[:, None]
    away, norms = np.linalg.norm(drawn - mean, axis=1), np.linalg.norm(drawn, axis=1)
    low, high = 2 * np.linalg.norm(mean) - np.percentile(norms, (97.5, 2.5))
    again = {"draw-median": np.median(away), "draw-most": np.percentile(away, 95), "norm-high": high}
    for name, value in (again | {"norm-low": max(low, 0)}).items():
        assert page.figures[name] == pytest.approx([value], rel=0.1, abs=0.01), name


def test_distances_of_one_group_and_of_two_are_those_of_all_faces(page, rows):
    faces = rows[rows.status == "ok"]
    vectors, groups = np.stack(faces.embedding).astype(float), faces.group.to_numpy()
    pairs, same = cdist(vectors, vectors), groups[:, None] == groups
    upper = np.triu(np.ones_like(same), 1)
    names, counts = np.unique(groups, return_counts=True)
    means = np.stack([vectors[groups == name].mean(axis=0) for name in names])
    of = np.searchsorted(names, groups)
    to_means, own = cdist(vectors, means), np.arange(len(names)) == of[:, None]
    without_itself = to_means[own] * counts[of] / (counts[of] - 1)
    check_compared(page, "pairs", pairs[same & upper], pairs[~same & upper])
    check_compared(page, "templates", without_itself, to_means[~own])


def check_compared(page: Page, kind: str, genuine: np.ndarray, impostor: np.ndarray) -> None:
    told = {name.removeprefix(f"{kind}-"): v[0] for name, v in page.figures.items() if name.startswith(kind)}
    assert (told["genuine"], told["impostor"]) == (len(genuine), len(impostor))
    at = np.sort(np.concatenate([genuine, impostor]))
    errors = np.maximum((genuine[:, None] >= at).mean(axis=0), (impostor[:, None] < at).mean(axis=0))
    assert told["equal-error-rate"] / 100 == pytest.approx(errors.min(), abs=0.01)
    if len(impostor) >= 10_000:
        assert (impostor < told["threshold"]).mean() <= 1e-3 < (impostor < told["threshold"] + 2 * BIN).mean() + 1e-4
        assert told["true-match-rate"] / 100 == pytest.approx((genuine < told["threshold"]).mean(), abs=0.01)
        assert told["threshold-low"] - BIN <= told["threshold"] <= told["threshold-high"] + BIN
    else:
        assert "threshold" not in told
    for series, low, high, count in page.bars[f"chart-{kind}"]:
        some = genuine if series == "one group" else impostor
        assert count == pytest.approx(((some >= low) & (some < high)).sum(), abs=2), (series, low)


def test_the_bars_hold_all_faces_and_the_map_shows_them(page, rows):
    vectors = np.stack(rows[rows.status == "ok"].embedding).astype(float)
    distances = np.linalg.norm(vectors - vectors.mean(axis=0), axis=1)
    bars = page.bars["chart-distances"]
    assert sum(count for *_, count in bars) == len(vectors)
    for _, low, high, count in bars:
        assert count == ((distances >= low) & (distances < high)).sum()
    assert page.points["chart-map"] == len(vectors)


def test_another_seed_is_another_sample_and_the_same_seed_the_same_page(numbers):
    made = []
    for seed in (0, 0, 1):
        report(numbers.output, faces=False, seed=seed)
        made.append(Path(numbers.output, "report.html").read_text())
    assert made[0] == made[1]
    assert re.sub(r"seed \d", "", made[0]) == re.sub(r"seed \d", "", made[2]), "the sample is all there is"


@pytest.mark.parametrize("low", [0.0, 0.123, 5.0, 1e6])
def test_ticks_are_round_and_within_the_frame(low):
    edges = np.linspace(low, low + 0.7, 11).tolist()
    chart = histogram(edges, {"faces": [0, 1, 2, 3, 1, 0, 1, 0, 0, 5]}, "x", {"here": low + 0.2})
    assert 3 <= len(chart.x_ticks) <= 9
    assert all(chart.left - 1 <= tick.at <= chart.right + 1 for tick in chart.x_ticks)
    assert [bar.holds for bar in chart.series[0].bars] == [1, 2, 3, 1, 1, 5]


def test_a_map_of_one_face_and_a_histogram_of_none_can_be_drawn():
    assert scatter({"": np.zeros((1, 2))}, "x", "y").series[0].path.count("M") == 1
    assert histogram([0.0, 1.0], {"faces": [0]}, "x").series[0].bars == []
