"""How often facemean compare tells two random halves of one output apart: no more often than its level, if it is right.

Halves by photo share their people, halves by person share none; a tenth against the rest, and a collection that grows
by a half. Without groups, photos are taken as independent, which those of one person are not: halves by person then
come out different too often, and this shows how much.

    python scripts/src/bench/halves.py OUTPUT [--rounds 500]
"""

import argparse
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from spark_job.results.drift import Chance, Groups, over_faces, over_groups
from spark_job.results.moments import DIMENSIONS
from spark_job.results.output import reading

LEVELS = (0.01, 0.05)
FIRST = 20  # rounds, told apart
Mask = NDArray[np.bool_]


def main() -> None:
    """Print a row for each way of halving."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", help="what a run with --group-by had as --output")
    parser.add_argument("--rounds", type=int, default=500, help="how often each is done (default 500)")
    options = parser.parse_args()
    faces, people = read(options.output)
    table = Table(
        "halves", "units", f"of the first {FIRST}", *(f"p < {level:g} of {options.rounds}" for level in LEVELS)
    )
    for name, parts in WAYS.items():
        for over, test in {"groups": by_groups, "faces": by_faces}.items():
            draw = np.random.default_rng(0)
            p = np.array([test(faces, people, *parts(people, draw)).p for _ in range(options.rounds)])
            rates = (f"{(p < level).mean():.1%}" for level in LEVELS)
            table.add_row(name, over, f"{(p[:FIRST] < LEVELS[0]).sum()} different", *rates)
    Console(width=110).print(table)


def read(uri: str) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The embedding of each face, (n, 128), and the number of its group."""
    with reading(uri) as output:
        rows = output.current("faces").to_pylist()
    found = [(face["embedding"], row["group"]) for row in rows for face in row["faces"] or []]
    vectors, groups = zip(*found, strict=True)
    return np.array(vectors, np.float64), np.unique(groups, return_inverse=True)[1]


def halves_by_photo(people: NDArray[np.intp], draw: np.random.Generator) -> tuple[Mask, Mask]:
    chosen = draw.permutation(len(people)) < len(people) // 2
    return chosen, ~chosen


def halves_by_person(people: NDArray[np.intp], draw: np.random.Generator) -> tuple[Mask, Mask]:
    n = people.max() + 1
    chosen = (draw.permutation(n) < n // 2)[people]
    return chosen, ~chosen


def a_tenth(people: NDArray[np.intp], draw: np.random.Generator) -> tuple[Mask, Mask]:
    chosen = draw.permutation(len(people)) < len(people) // 10
    return chosen, ~chosen


def growth(people: NDArray[np.intp], draw: np.random.Generator) -> tuple[Mask, Mask]:
    n = people.max() + 1
    return (draw.permutation(n) < 2 * n // 3)[people], np.ones(len(people), bool)


WAYS: dict[str, Callable[[NDArray[np.intp], np.random.Generator], tuple[Mask, Mask]]] = {
    "by photo": halves_by_photo,
    "by person": halves_by_person,
    "a tenth of the photos, and the rest": a_tenth,
    "two thirds of the people, and all": growth,
}


def by_groups(faces: NDArray[np.float64], people: NDArray[np.intp], a: Mask, b: Mask) -> Chance:
    """The test of two parts whose people are known."""
    return over_groups(*(grouped(faces[part], people[part]) for part in (a, b)))


def by_faces(faces: NDArray[np.float64], people: NDArray[np.intp], a: Mask, b: Mask) -> Chance:
    """The test of two parts of which nobody says who is in them."""
    covariance = sum(np.cov(faces[part].T) / part.sum() for part in (a, b))
    return over_faces(faces[a].mean(axis=0) - faces[b].mean(axis=0), covariance, len(people))


def grouped(faces: NDArray[np.float64], people: NDArray[np.intp]) -> Groups:
    names, numbers, counts = np.unique(people, return_inverse=True, return_counts=True)
    sums = np.zeros((len(names), DIMENSIONS))
    np.add.at(sums, numbers, faces)
    nothing = pa.nulls(len(names), pa.list_(pa.float64()))
    columns = {"group": [f"{name:06}" for name in names], "count": counts, "mean": list(sums / counts[:, None])}
    return Groups.of(pa.table({**columns, "standard_error": nothing}))


if __name__ == "__main__":
    main()
