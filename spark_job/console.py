"""Console: what a person sees of a run: plan and progress on standard error, the result on standard output."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from spark_job.results.show import VECTORS
from spark_job.settings import Settings

if TYPE_CHECKING:
    from pyspark import SparkContext

    from spark_job.inputs.photos import Listing

POLL_S = 0.25
SHOWN = 20  # rows of a table
WIDE = 10_000  # columns of a table of names: none is cut
LINE_EVERY_S = 10.0  # where there is no terminal to draw a bar on


class Console:
    """Speaks to a person, to a script (as_json), or to nobody (quiet)."""

    def __init__(self, quiet: bool = False, as_json: bool = False) -> None:
        self._as_json = as_json
        silent = quiet or as_json
        self._err = Terminal(stderr=True, quiet=silent, highlight=False, soft_wrap=True)
        self._out = Terminal(quiet=silent, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """A line on standard error."""
        self._err.print(Text(printable(text)))

    def repaired(self, names: list[str]) -> None:
        """What --repair moved out of the checkpoint."""
        self.say(f"repair   {len(names)} damaged files moved to damaged/" + "".join(f" {name}" for name in names))

    def plan(
        self,
        settings: Settings,
        settings_id: str,
        listing: "Listing",
        missing: int,
        stands: bool,
        context: "SparkContext",
    ) -> None:
        """What will be done, before it is done. stands: whether all that was found is taken as it is."""
        from spark_job.inputs.photos import task_count

        cores = context.defaultParallelism
        also = [
            f"{count:,} {what}"
            for count, what in (
                (listing.listed - missing, "done by earlier runs"),
                (listing.listed_twice, "listed twice and counted once"),
                (listing.linked_twice, "files with several paths, by links, that count once"),
                (listing.skipped, f"other files skipped ({_some(listing.skipped_examples, listing.skipped)})"),
            )
            if count
        ]
        self.say(f"photos   {listing.listed:,} found" + "".join(f"; {text}" for text in also))
        tasks = task_count(missing, cores) if missing else 0
        work = "none: nothing that the results rest on has changed"
        self.say(f"work     {work if stands else f'{missing:,} to encode, tasks: {tasks:,}, cores: {cores}'}")
        named = ((name.replace("_", " "), value) for name, value in settings.identity().items())
        choices = ", ".join(
            f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in named
        )
        self.say(f"settings {settings_id}: {choices}")
        self.say(f"watch    {context.uiWebUrl or 'the Spark UI is off'}")

    @contextmanager
    def progress(
        self, what: str, total: int, done: Callable[[], int], tell: Callable[[float, float], None] | None = None
    ) -> Iterator[None]:
        """While the body runs, show how many of total are done, how many a second, and the time left.

        tell is called with the last two, and the time left (s) is nan while nothing is done.
        """
        stop, started = Event(), time.monotonic()
        columns = (
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.1f}/s, left"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )

        def watch(bar: Progress) -> None:
            task, said = bar.add_task(what, total=total, rate=0.0), started
            while True:
                stopped = stop.wait(POLL_S)
                count, now = done(), time.monotonic()
                rate = count / (now - started)
                left_s = max(total - count, 0) / rate if rate else math.nan
                if tell:
                    tell(rate, left_s)
                bar.update(task, completed=count, rate=rate)
                if not self._err.is_terminal and (stopped or now - said >= LINE_EVERY_S):
                    left = f"{left_s:.0f} s left" if rate else "starting"
                    self.say(f"{what}: {count:,} of {total:,}, {rate:.1f}/s, {left}")
                    said = now
                if stopped:
                    return

        with Progress(*columns, console=self._err, disable=not self._err.is_terminal) as bar:
            watcher = Thread(target=watch, args=(bar,), daemon=True)
            watcher.start()
            try:
                yield
            finally:
                stop.set()
                watcher.join()

    def tell(self, document: Mapping[str, Any], shown: Iterable[Table | str]) -> None:
        """What a command found: a line of JSON to a script, tables and lines to a person."""
        if self._as_json:
            print(json.dumps(document))
            return
        for part in shown:
            self._out.print(Text(part) if isinstance(part, str) else part)

    def show(self, summary: dict[str, Any]) -> None:
        """What a run came to, as Result.summary or results/show.py say it: a table of statuses, and some lines."""
        if self._as_json:
            print(json.dumps(_without_vectors(summary)))
            return
        self._out.print(_table(summary["photos"]))
        for line in _lines(summary):
            self._out.print(Text(line))

    def matches(self, found: dict[str, Any]) -> None:
        """What results/match.py says: for each face the nearest groups, and whether the first is a match."""
        if self._as_json:
            print(json.dumps(found))
            return
        for photo in found["photos"]:
            self._out.print(Text(f"{printable(photo['path'])}: {_faces_of(photo)}"))
            for face in photo["faces"]:
                self._out.print(_nearest(face))
        bounds = ", ".join(f"{word}: nearer than {bound:.3f}" for word, bound in found["thresholds"].items())
        self._out.print(Text(f"{bounds} ({_source(found)})"))

    def outliers(self, found: dict[str, Any], clean_list: str | None) -> None:
        """What results/outliers.py says: the first photos that do not belong, and how many there are."""
        if self._as_json:
            print(json.dumps(found))
            return
        if found["first"]:
            Terminal(width=WIDE).print(_suspects(found["first"]))
        verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in found["verdicts"].items())
        near, sure = (f"{found['thresholds'][name]:.3f}" for name in ("near", "sure"))
        kept = "" if clean_list is None else f"; {found['kept']:,} photos to keep in {printable(clean_list)}"
        for line in (
            "",
            f"{verdicts} of {found['faces']:,} faces in {found['groups']:,} groups of two or more",
            f"a face is its group's nearer than {near}, and for sure nearer than {sure} ({_source(found)})",
            f"the nearest other group was searched for {found['searched']:,} faces",
            f"{found['output']}/outliers/, outliers.csv{kept}",
        ):
            self._out.print(Text(line))

    def overlap(self, found: dict[str, Any]) -> None:
        """What results/overlap.py says: the nearest pairs of groups."""
        if self._as_json:
            print(json.dumps(found))
            return
        if found["pairs"]:
            Terminal(width=WIDE).print(_pairs(found["pairs"][:SHOWN]))
        for line in (
            "",
            f"{len(found['pairs']):,} of {found['compared']:,} pairs are nearer than {found['threshold']:.3f}; "
            f"of as many pairs of strangers, about {found['by_chance']:,} would be ({_source(found)})",
        ):
            self._out.print(Text(line))


def _source(found: dict[str, Any]) -> str:
    return "measured on that output" if found["is_measured"] else "measured on Labeled Faces in the Wild"


def _suspects(rows: list[dict[str, Any]]) -> Table:
    table = Table("score", "verdict", "photo", "distance", "nearest other group", "distance", show_edge=False)
    for row in rows:
        photo = "/".join(row["path"].split("/")[-2:])  # its folder and its name
        apart = [f"{row[name]:.3f}" if row[name] is not None else "" for name in ("distance", "nearest_distance")]
        cells = f"{row['label_score']:.3f}", row["verdict"], photo, apart[0], row["nearest_group"] or "", apart[1]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _pairs(pairs: list[dict[str, Any]]) -> Table:
    table = Table("distance", "group", "photos", "other group", "photos", show_edge=False)
    for pair in pairs:
        counts = [f"{pair[name]:,}" for name in ("count", "other_count")]
        cells = f"{pair['distance']:.3f}", pair["group"], counts[0], pair["other"], counts[1]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _faces_of(photo: dict[str, Any]) -> str:
    if not photo["faces"]:
        return ": ".join(printable(told) for told in (photo["status"], photo["message"]) if told)
    verdicts: list[str] = [face["verdict"] for face in photo["faces"]]
    return verdicts[0] if len(verdicts) == 1 else f"{len(verdicts)} faces: {', '.join(verdicts)}"


def _nearest(face: dict[str, Any]) -> Table:
    table = Table("nearest groups", show_edge=False)
    for heading in ("photos", "distance"):
        table.add_column(heading, justify="right")
    for near in face["nearest"]:
        table.add_row(Text(printable(near["group"])), f"{near['count']:,}", f"{near['distance']:.3f}")
    return table


def _without_vectors(document: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_vectors(value) if isinstance(value, dict) else value
        for name, value in document.items()
        if name not in VECTORS
    }


def _some(examples: list[str], count: int) -> str:
    return ", ".join(examples) + (f" and {count - len(examples):,} more" if count > len(examples) else "")


def printable(text: str) -> str:
    """Text with control characters escaped: a file name may not command the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _table(photos: dict[str, int]) -> Table:
    table = Table("status", show_edge=False)
    table.add_column("photos", justify="right")
    table.add_column("share", justify="right")
    for status, count in photos.items():
        if count and status != "listed":
            table.add_row(status, f"{count:,}", f"{count / photos['listed']:.1%}")
    table.add_section()
    table.add_row("listed", f"{photos['listed']:,}", "")
    return table


def _lines(summary: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield from _state(summary) if "done" in summary else _outcome(summary)
    if summary["failures"]:
        yield ""
        yield "first failures:"
    for path, status, message in summary["failures"]:
        yield f"  {status}: {printable(path)}: {printable(message)}"


def _outcome(summary: dict[str, Any]) -> Iterator[str]:
    """Of a run that has finished."""
    yield f"mean of {summary['count']:,} faces: sha256 {summary['mean_sha256']}"
    yield f"{summary['output']}/mean.json, mean.npy, photos/" + (
        f", groups/ ({summary['groups']:,})" if summary["groups"] is not None else ""
    )
    earlier = summary["photos"]["listed"] - summary["encoded"]
    yield (
        f"{summary['encoded']:,} photos encoded, {earlier:,} taken from earlier runs, "
        f"in {summary['seconds']:.1f} s ({summary['photos_per_second']:.1f} photos a second)"
    )
    if len(summary["processors"]) > 1:
        kinds = ", ".join(summary["processors"])
        yield f"rows of several kinds of processor ({kinds}): the last digits of their embeddings differ"


def _state(summary: dict[str, Any]) -> Iterator[str]:
    """Of a run that goes on, or was interrupted."""
    yield f"{summary['state']}: {summary['done']:,} of {summary['photos']['listed']:,} photos done" + (
        "; the same command goes on from here"
        if summary["state"] == "interrupted"
        else f", {summary['photos_per_second']:.1f} a second, {summary['seconds_left']} s left"
        if summary["seconds_left"] is not None
        else ", starting"
    )
    yield f"since {summary['started']}, settings {summary['settings_id']}, into {summary['output']}"
