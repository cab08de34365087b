"""Plant wrong labels in an output of facemean run --group-by, and count how many of the first suspects are planted.

facemean outliers judges each planting as a user would have it do: its groups are made anew, from rows that stay. With
--cleanlab, cleanlab's Datalab ranks the same embeddings and labels. Errors that were there before count as misses for
both.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table

from spark_job import Settings, outliers
from spark_job.results.groups import write_groups
from spark_job.results.output import current_rows, reading
from spark_job.spark.hadoop import FileSystem
from spark_job.spark.session import open_session

FIRST = (10, 50, 100)
DATALAB = Path(__file__).with_name("datalab.py")


def main() -> None:
    """Plant, rank and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="what facemean run had as --output")
    parser.add_argument("--cleanlab", type=Path, help="the Python of an environment with cleanlab[datalab]")
    parser.add_argument("--plantings", type=int, default=20, help="how often (default 20)")
    parser.add_argument("--wrong", type=float, default=0.01, help="the share of wrong labels (default 0.01)")
    parser.add_argument("--planted", type=int, help="how many labels are wrong, in place of a share")
    parser.add_argument("--min-photos", type=int, default=1, help="only groups of so many photos or more (default 1)")
    parser.add_argument("--groups", type=int, help="only so many groups, other ones in each planting (default all)")
    options = parser.parse_args()
    with reading(str(options.output)) as output:
        rows = output.current("faces")
    rows = rows.filter(pa.array([bool(faces) for faces in rows["faces"].to_pylist()]))
    ranks: dict[str, list[list[float]]] = {}
    with open_session(Settings(inputs=("none",), output=str(options.output))) as spark:
        for seed in range(options.plantings):
            some, labels, planted = plant(rows, np.random.default_rng(seed), options)
            for name, order in ranked(spark, options, some, labels).items():
                shares = [float(planted[order[:first]].mean()) for first in FIRST]
                ranks.setdefault(name, []).append(shares)
            print(f"planting {seed + 1} of {options.plantings}: {shown(ranks, -1)}", flush=True)
    table = Table(f"{planted.sum()} wrong of {len(labels)}, {len(set(labels))} groups", *(f"first {n}" for n in FIRST))
    for name, all_shares in ranks.items():
        table.add_row(name, *(f"{share:.3f}" for share in np.mean(all_shares, axis=0)))
    table.add_row("all that there are", *(f"{min(1, planted.sum() / first):.3f}" for first in FIRST))
    Console().print(table)


def plant(
    rows: pa.Table, random: np.random.Generator, options: argparse.Namespace
) -> tuple[pa.Table, NDArray[np.str_], NDArray[np.bool_]]:
    """Rows of the groups that take part, their labels, and which are wrong: those of another photo drawn at random."""
    labels = np.array(rows["group"].to_pylist(), dtype=np.str_)
    names, counts = np.unique(labels, return_counts=True)
    names = names[counts >= options.min_photos]
    if options.groups:
        names = random.choice(names, options.groups, replace=False)
    taken = np.isin(labels, names)
    some, labels = rows.filter(pa.array(taken)), labels[taken]
    wrong = random.choice(len(labels), options.planted or round(options.wrong * len(labels)), replace=False)
    given = labels.copy()
    for i in wrong:
        given[i] = random.choice(labels[labels != labels[i]])
    return some, given, given != labels


def ranked(
    spark: SparkSession, options: argparse.Namespace, rows: pa.Table, labels: NDArray[np.str_]
) -> dict[str, NDArray[np.int64]]:
    """Each way's order of the rows, worst first."""
    with tempfile.TemporaryDirectory() as scratch:
        found = {"facemean outliers": by_facemean(spark, options.output, Path(scratch) / "out", rows, labels)}
        if options.cleanlab:
            np.savez(f"{scratch}/in.npz", embeddings=embeddings(rows), labels=labels)
            subprocess.run([options.cleanlab, DATALAB, f"{scratch}/in.npz", f"{scratch}/out.npz"], check=True)
            with np.load(f"{scratch}/out.npz") as orders:
                found |= {f"Datalab, {name}": orders[name] for name in orders.files}
    return found


def by_facemean(
    spark: SparkSession, original: Path, output: Path, rows: pa.Table, labels: NDArray[np.str_]
) -> NDArray[np.int64]:
    """The order of outliers/ on an output whose photos are listed in the groups that labels say."""
    (output / "listing").mkdir(parents=True)
    (output / "photos").symlink_to((original / "photos").absolute())
    for name in ("run.json", "mean.json", "statistics.json"):
        shutil.copy(original / name, output)
    listing = rows.select(["path", "length", "modificationTime"]).append_column("group", pa.array(labels.tolist()))
    pq.write_table(listing, output / "listing" / "part-0.parquet")
    folder = FileSystem(spark, str(output))
    write_groups(folder, current_rows(spark, folder, "faces"))
    outliers(str(output), spark=spark)
    judged = pq.read_table(output / "outliers", columns=["path", "label_score"]).sort_by("label_score")
    place = {path: i for i, path in enumerate(rows["path"].to_pylist())}
    return np.array([place[path] for path in judged["path"].to_pylist()])


def embeddings(rows: pa.Table) -> NDArray[np.float32]:
    """The embedding of the first face of each row."""
    return np.array([faces[0]["embedding"] for faces in rows["faces"].to_pylist()], dtype=np.float32)


def shown(ranks: dict[str, list[list[float]]], planting: int) -> str:
    """The shares of one planting."""
    return json.dumps({name: shares[planting] for name, shares in ranks.items()})


if __name__ == "__main__":
    main()
