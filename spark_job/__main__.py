"""The command line, and the file given to spark-submit."""

import argparse
import logging
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

if not __package__:  # given to spark-submit as a file: the package is the folder it lies in
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException

from spark_job.checks.preflight import preflight
from spark_job.console import Console
from spark_job.errors import FacemeanError
from spark_job.pipeline import run
from spark_job.settings import Settings, flag, options
from spark_job.spark.hadoop import reason

DONE, FAILED, TOO_MANY_FAILED = 0, 1, 3
STOPPED, STOPPED_SAYS = 130, "stopped: the same command goes on from here"


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"facemean: error: {message} (see {self.prog} --help)\n")


def main(arguments: list[str] | None = None) -> int:
    """Run a command of the command line; returns the exit code."""
    chosen = vars(parser().parse_args(arguments))
    command, quiet, as_json = chosen.pop("command"), chosen.pop("quiet", False), chosen.pop("json", False)
    stopped: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        stopped.append(signum)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    logging.disable(logging.ERROR)  # py4j logs the stack of an interrupt, which main tells in a line
    try:
        if command == "check":
            return DONE if preflight(Settings(inputs=("none",), output="none", **_settings(chosen))) else FAILED
        result = run(Settings(**_settings(chosen)), console=(console := Console(quiet, as_json)))
        console.show(result)
        return TOO_MANY_FAILED if result.too_many_failed else DONE
    except (KeyboardInterrupt, FacemeanError, Py4JError, PySparkException, ConnectionError) as error:
        # A SIGTERM to the whole process group ends Java too, and what that breaks may be seen first.
        code, why = (STOPPED, STOPPED_SAYS) if stopped or isinstance(error, KeyboardInterrupt) else _told(error)
        print(f"facemean: {why}", file=sys.stderr)
        return code


def parser() -> Parser:
    """The command line, with an option for each field of Settings that is one."""
    facemean = Parser(prog="facemean", description="The mean face embedding of a collection of photos.")
    commands = facemean.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run_ = commands.add_parser(
        "run", help="encode photos and take the mean", description="Encode photos and take the mean."
    )
    run_.add_argument("inputs", nargs="+", metavar="INPUT", help="a folder, glob, archive, Parquet table or URL")
    run_.add_argument("--output", required=True, metavar="URI", help="the folder of the results and the checkpoint")
    for option in options():
        _add(run_, option)
    run_.add_argument("--quiet", action="store_true", help="print errors only")
    run_.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    check = commands.add_parser(
        "check", help="see whether a run can work here", description="See whether a run can work here."
    )
    for option in options():
        if option.name in ("master", "conf"):
            _add(check, option)
    return facemean


def _add(command: argparse.ArgumentParser, option: Any) -> None:
    described = {k: option.metadata[k] for k in ("choices", "metavar") if k in option.metadata}
    if option.default == ():
        command.add_argument(flag(option), action="append", default=[], help=option.metadata["help"], **described)
        return
    if option.default is False:
        command.add_argument(flag(option), action="store_true", help=option.metadata["help"])
        return
    default = "" if option.default is None else f" (default {option.default})"
    kind = option.metadata.get("parse") or (str if option.default is None else type(option.default))
    command.add_argument(
        flag(option), type=kind, default=option.default, help=option.metadata["help"] + default, **described
    )


def _settings(chosen: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in chosen.items()}


def _told(error: Exception) -> tuple[int, str]:
    """The exit code and the line for what ended a run."""
    if isinstance(error, FacemeanError):
        return error.exit_code, f"error: {error}"
    if isinstance(error, (Py4JJavaError, PySparkException)):
        return FAILED, f"error: Spark failed: {reason(error)}; the same command goes on from here"
    return FAILED, (
        "error: Spark's Java process ended, perhaps for want of memory: give it more with "
        "--conf spark.driver.memory=4g; the same command goes on from here"
    )


if __name__ == "__main__":
    sys.exit(main())
