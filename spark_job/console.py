"""Console: what a person sees of a run: plan and progress on standard error, the result on standard output."""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from pyspark import SparkContext
from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from spark_job.inputs.photos import Listing, task_count
from spark_job.results.result import Result, document
from spark_job.settings import Settings

POLL_S = 0.25
VECTORS = ("mean", "std", "standard_error")
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

    def plan(self, settings: Settings, settings_id: str, listing: Listing, missing: int, context: SparkContext) -> None:
        """What will be done, before it is done."""
        cores = context.defaultParallelism
        also = [
            f"{count:,} {what}"
            for count, what in (
                (listing.listed - missing, "done by earlier runs"),
                (listing.listed_twice, "listed twice and counted once"),
                (listing.skipped, f"other files skipped ({_some(listing.skipped_examples, listing.skipped)})"),
            )
            if count
        ]
        self.say(f"photos   {listing.listed:,} found" + "".join(f"; {text}" for text in also))
        tasks = task_count(missing, cores) if missing else 0
        self.say(f"work     {missing:,} to encode, tasks: {tasks:,}, cores: {cores}")
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

    def show(self, result: Result) -> None:
        """The result: a table of statuses, where the files are, and the first failures."""
        if self._as_json:
            summary = {name: value for name, value in document(result).items() if name not in VECTORS}
            print(json.dumps({"output": result.output, **summary, "failures": result.failures}))
            return
        self._out.print(_table(result))
        for line in _lines(result):
            self._out.print(Text(line))


def _some(examples: list[str], count: int) -> str:
    return ", ".join(examples) + (f" and {count - len(examples):,} more" if count > len(examples) else "")


def printable(text: str) -> str:
    """Text with control characters escaped: a file name may not command the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _table(result: Result) -> Table:
    table = Table("status", show_edge=False)
    table.add_column("photos", justify="right")
    table.add_column("share", justify="right")
    listed = result.photos["listed"]
    for status, count in result.photos.items():
        if count and status != "listed":
            table.add_row(status, f"{count:,}", f"{count / listed:.1%}")
    table.add_section()
    table.add_row("listed", f"{listed:,}", "")
    return table


def _lines(result: Result) -> Iterator[str]:
    yield ""
    yield f"mean of {result.count:,} faces: sha256 {result.mean_sha256}"
    yield f"{result.output}/mean.json, mean.npy, photos/" + (
        f", groups/ ({result.groups:,})" if result.groups is not None else ""
    )
    yield (
        f"{result.encoded:,} photos encoded, {result.photos['listed'] - result.encoded:,} taken from earlier runs, "
        f"in {result.seconds:.1f} s ({result.photos_per_second:.1f} photos a second)"
    )
    if len(result.processors) > 1:
        kinds = ", ".join(result.processors)
        yield f"rows of several kinds of processor ({kinds}): the last digits of their embeddings differ"
    if result.failures:
        yield ""
        yield "first failures:"
    for path, status, message in result.failures:
        yield f"  {status}: {printable(path)}: {printable(message)}"
