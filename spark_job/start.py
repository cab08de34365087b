"""Start: the program facemean, which heeds stops before it imports anything."""

from spark_job.stops import heed_stops


def main() -> int:
    """The command line's exit code."""
    heed_stops()
    from spark_job.__main__ import main as command_line

    return command_line()
