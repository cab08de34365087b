"""Commands: what each command of the command line takes, and what it does.

A command imports what it needs when it runs: those that only read an output answer before Spark would have started.
"""

import argparse
from collections.abc import Callable
from contextlib import suppress
from dataclasses import Field, asdict
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from spark_job.settings import Settings, flag, options

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_job.console import Console

DONE, FAILED, TOO_MANY_FAILED, DIFFERENT = 0, 1, 3, 4


class Command(NamedTuple):
    """help: one line; add: gives a parser its arguments; do: runs with them, and returns the exit code."""

    help: str
    add: Callable[[argparse.ArgumentParser], None]
    do: Callable[[dict[str, Any]], int]


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="a folder, glob, archive, table, list or URL")
    parser.add_argument("--output", required=True, metavar="URI", help="the folder of the results and the checkpoint")
    add_options(parser)
    parser.add_argument("--report", action="store_true", help="at its end, find the outliers and write report.html")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def _run(chosen: dict[str, Any]) -> int:
    from spark_job.spark.session import open_session

    quiet, as_json, with_report = (chosen.pop(name) for name in ("quiet", "json", "report"))
    settings = Settings(**chosen)
    _import_ahead("spark_job.pipeline")
    with open_session(settings, records=True) as spark:
        from spark_job.console import Console
        from spark_job.pipeline import run
        from spark_job.results.result import summary
        from spark_job.spark.hadoop import FileSystem
        from spark_job.table.compact import advice

        console = Console(quiet, as_json)
        result = run(settings, spark, console)
        console.show(summary(result))
        if advised := advice(FileSystem(spark, result.output)):
            console.say(advised)
        if with_report:
            _write_report(settings, spark, Console(quiet or as_json))
    return TOO_MANY_FAILED if result.too_many_failed else DONE


def _import_ahead(module: str) -> None:
    """Import what is wanted once Java has started, while it starts; what that raises, the import proper will raise."""

    def import_it() -> None:
        with suppress(Exception):
            import_module(module)

    Thread(target=import_it).start()


def _write_report(settings: Settings, spark: "SparkSession | None", console: "Console") -> None:
    """The report of a run that has just ended, with its outliers where it has groups."""
    from spark_job.results.outliers import outliers
    from spark_job.results.report.report import report

    if settings.group_by != "none":
        outliers(settings.output, spark=spark)
    made = report(settings.output)
    console.tell(asdict(made), [made.says])


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", metavar="OUTPUT", help="what a run had as --output")
    parser.add_argument(
        "--no-faces", dest="faces", action="store_false", help="without pictures of people, and without the map"
    )
    parser.add_argument(
        "--sample", type=int, default=2000, metavar="N", help="how many photos the mean face is of (default 2000)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another sample (default 0)")
    add_reading(parser)


def _report(chosen: dict[str, Any]) -> int:
    from spark_job.console import Console
    from spark_job.results.report.report import report

    console = Console(as_json=chosen.pop("json"))
    made = report(**chosen)
    console.tell(asdict(made), [made.says])
    return DONE


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", metavar="OUTPUT", help="what a run had, or has, as --output")
    add_reading(parser)


def _show(chosen: dict[str, Any]) -> int:
    from spark_job.console import Console
    from spark_job.results.show import show

    console = Console(as_json=chosen.pop("json"))
    console.show(show(chosen.pop("output"), **chosen))
    return DONE


def _add_match(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="a photo on this machine")
    parser.add_argument("--against", required=True, metavar="OUTPUT", help="what a run with --group-by had as --output")
    parser.add_argument("--nearest", type=int, default=5, metavar="N", help="how many groups to name (default 5)")
    add_reading(parser)


def _match(chosen: dict[str, Any]) -> int:
    from spark_job.console import Console
    from spark_job.results.match import match

    console = Console(as_json=chosen.pop("json"))
    found = match(chosen.pop("photos"), chosen.pop("against"), **chosen)
    console.matches(found)
    return DONE if all(photo["faces"] for photo in found["photos"]) else TOO_MANY_FAILED


def _add_compare(parser: argparse.ArgumentParser) -> None:
    for name in ("a", "b"):
        parser.add_argument(name, metavar=name.upper(), help="what a run had as --output")
    parser.add_argument(
        "--level",
        type=float,
        default=0.01,
        metavar="P",
        help="how often chance alone is told as a difference (default 0.01)",
    )
    parser.add_argument("--force", action="store_true", help="compare results of other models, too")
    parser.add_argument("--html", metavar="FILE", help="write it as a page, too, to a file of this machine")
    add_reading(parser)


def _compare(chosen: dict[str, Any]) -> int:
    from spark_job.console import Console
    from spark_job.results.compare import compare
    from spark_job.results.comparison import document, shown
    from spark_job.results.report.compared import write_comparison

    console, html = Console(as_json=chosen.pop("json")), chosen.pop("html")
    found = compare(**chosen)
    if html:
        write_comparison(found, html)
    console.tell(document(found), shown(found))
    return DIFFERENT if found.verdict == "different" else DONE


def _add_outliers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", metavar="OUTPUT", help="what a run with --group-by had as --output")
    parser.add_argument(
        "--clean-list",
        metavar="FILE",
        help="write the photos to keep, one path a line, to a file of this machine",
    )
    add_reading(parser)


def _outliers(chosen: dict[str, Any]) -> int:
    from spark_job.console import Console
    from spark_job.results.outliers import outliers

    console = Console(as_json=chosen.pop("json"))
    console.outliers(outliers(chosen.pop("output"), **chosen), chosen["clean_list"])
    return DONE


def _add_overlap(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", metavar="OUTPUT", help="what a run with --group-by had as --output")
    parser.add_argument("other", metavar="OTHER", nargs="?", help="another such; without it, groups of one output")
    parser.add_argument("--limit", type=int, default=1000, metavar="N", help="the most pairs to give (default 1000)")
    add_reading(parser)


def _overlap(chosen: dict[str, Any]) -> int:
    from spark_job.console import Console
    from spark_job.results.overlap import overlap

    console = Console(as_json=chosen.pop("json"))
    console.overlap(overlap(**chosen))
    return DONE


def _add_compact(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", metavar="OUTPUT", help="what a run had as --output")
    parser.add_argument(
        "--drop-stale",
        action="store_true",
        help="keep nothing of photos that the latest run no longer found, and no row of other settings",
    )
    add_reading(parser)


def _compact(chosen: dict[str, Any]) -> int:
    from spark_job.console import Console
    from spark_job.results.compact import compact, shown

    console = Console(as_json=chosen.pop("json"))
    done = compact(**chosen)
    console.tell(done, shown(done))
    return DONE


COMMANDS = {
    "run": Command("encode photos and take the mean", _add_run, _run),
    "show": Command("say what an output holds, also while a run goes on", _add_show, _show),
    "report": Command("write a page with pictures into an output: report.html", _add_report, _report),
    "outliers": Command("find the photos that do not belong to their group", _add_outliers, _outliers),
    "overlap": Command("find the groups that are one person, in one output or in two", _add_overlap, _overlap),
    "match": Command("say which groups of an output a photo's faces are nearest to", _add_match, _match),
    "compare": Command("say whether two outputs differ by more than chance, and in what", _add_compare, _compare),
    "compact": Command("merge the small files of an output, and drop what is stale", _add_compact, _compact),
}


def add_reading(parser: argparse.ArgumentParser) -> None:
    """The options of a command that reads an output: Spark's, for one that lies on no disk, and --json."""
    add_options(parser, "master", "conf")
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def add_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Give a parser these fields of Settings as options; all of them where none is named."""
    for option in options():
        if not names or option.name in names:
            _add(parser, option)


def _add(parser: argparse.ArgumentParser, option: Field[Any]) -> None:
    described = {k: option.metadata[k] for k in ("choices", "metavar") if k in option.metadata}
    if option.default == ():
        parser.add_argument(flag(option), action="append", default=[], help=option.metadata["help"], **described)
        return
    if option.default is False:
        parser.add_argument(flag(option), action="store_true", help=option.metadata["help"])
        return
    default = "" if option.default is None else f" (default {option.default})"
    kind = option.metadata.get("parse") or (str if option.default is None else type(option.default))
    parser.add_argument(
        flag(option), type=kind, default=option.default, help=option.metadata["help"] + default, **described
    )
