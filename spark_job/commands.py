"""Commands: what each command of the command line takes, and what it does.

A command imports what it needs when it runs: those that only read an output answer before Spark would have started.
"""

import argparse
from collections.abc import Callable
from dataclasses import Field
from typing import Any, NamedTuple

from spark_job.settings import Settings, flag, options

DONE, FAILED, TOO_MANY_FAILED = 0, 1, 3


class Command(NamedTuple):
    """help: one line; add: gives a parser its arguments; do: runs with them, and returns the exit code."""

    help: str
    add: Callable[[argparse.ArgumentParser], None]
    do: Callable[[dict[str, Any]], int]


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="a folder, glob, archive, Parquet table or URL")
    parser.add_argument("--output", required=True, metavar="URI", help="the folder of the results and the checkpoint")
    add_options(parser)
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def _run(chosen: dict[str, Any]) -> int:
    from spark_job.console import Console
    from spark_job.pipeline import run
    from spark_job.results.result import summary

    console = Console(chosen.pop("quiet"), chosen.pop("json"))
    result = run(Settings(**chosen), console=console)
    console.show(summary(result))
    return TOO_MANY_FAILED if result.too_many_failed else DONE


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", metavar="OUTPUT", help="what a run had, or has, as --output")
    add_reading(parser)


def _show(chosen: dict[str, Any]) -> int:
    from spark_job.console import Console
    from spark_job.results.show import show

    console = Console(as_json=chosen.pop("json"))
    console.show(show(chosen.pop("output"), **chosen))
    return DONE


COMMANDS = {
    "run": Command("encode photos and take the mean", _add_run, _run),
    "show": Command("say what an output holds, also while a run goes on", _add_show, _show),
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
