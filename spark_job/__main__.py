"""The command line, and the file given to spark-submit."""

import argparse
import logging
import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

if not __package__:  # given to spark-submit as a file: the package is the folder it lies in
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from spark_job.stops import STOPPED, STOPPED_SAYS, heed_stops, is_importing, stop_at_once

if __name__ == "__main__":
    heed_stops()

from spark_job.commands import COMMANDS, DONE, FAILED, Command, add_options
from spark_job.errors import FacemeanError
from spark_job.settings import Settings


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"facemean: error: {message} (see {self.prog} --help)\n")


def main(arguments: list[str] | None = None) -> int:
    """Run a command of the command line; returns the exit code."""
    chosen = vars(parser().parse_args(arguments))
    command = ALL[chosen.pop("command")]
    stopped: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        if is_importing(frame):
            stop_at_once(signum, frame)
        if not stopped:  # once: a second one would break off the stopping
            stopped.append(signum)
            raise KeyboardInterrupt

    heed_stops(stop)
    logging.disable(logging.ERROR)  # py4j logs the stack of an interrupt, which main tells in a line
    try:
        if "PYSPARK_GATEWAY_PORT" in os.environ:
            from spark_job.spark.session import take_sigterm_from_java

            take_sigterm_from_java()
        return command.do({name: tuple(value) if isinstance(value, list) else value for name, value in chosen.items()})
    except _told_in_a_line() as error:
        # A SIGTERM to the whole process group ends Java too, and what that breaks may be seen first.
        code, why = (STOPPED, STOPPED_SAYS) if stopped or isinstance(error, KeyboardInterrupt) else _told(error)
        print(f"facemean: {why}", file=sys.stderr)
        return code


def parser() -> Parser:
    """The command line."""
    facemean = Parser(prog="facemean", description="The mean face embedding of a collection of photos.")
    commands = facemean.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in ALL.items():
        says = command.help
        command.add(commands.add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}."))
    return facemean


def _check(chosen: dict[str, Any]) -> int:
    from spark_job.checks.preflight import preflight

    return DONE if preflight(Settings(inputs=("none",), output="none", **chosen)) else FAILED


ALL = COMMANDS | {
    "check": Command("see whether a run can work here", lambda parser: add_options(parser, "master", "conf"), _check),
}


def _told_in_a_line() -> tuple[type[BaseException], ...]:
    """What may end a command; of Spark's errors, where the command has loaded it."""
    if "pyspark" not in sys.modules:
        return KeyboardInterrupt, FacemeanError, ConnectionError
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    return KeyboardInterrupt, FacemeanError, ConnectionError, Py4JError, PySparkException


def _told(error: BaseException) -> tuple[int, str]:
    """The exit code and the line for what ended a command."""
    if isinstance(error, FacemeanError):
        return error.exit_code, f"error: {error}"
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    from spark_job.spark.hadoop import reason

    if isinstance(error, (Py4JJavaError, PySparkException)):
        return FAILED, f"error: Spark failed: {reason(error)}; the same command goes on from here"
    return FAILED, (
        "error: Spark's Java process ended, perhaps for want of memory: give it more with "
        "--conf spark.driver.memory=4g; the same command goes on from here"
    )


if __name__ == "__main__":
    sys.exit(main())
