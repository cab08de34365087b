"""Stops: Ctrl-C and SIGTERM are one line from the first moment on, though imports and Java take seconds."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED, STOPPED_SAYS = 130, "stopped: the same command goes on from here"
STOPS = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], None]


def stop_at_once(signum: int, frame: FrameType | None) -> None:
    """End a process in which nothing has begun that would have to be ended."""
    os.write(2, f"facemean: {STOPPED_SAYS}\n".encode())
    os._exit(STOPPED)


def heed_stops(heed: Handler = stop_at_once) -> None:
    """Call heed on Ctrl-C and SIGTERM, where they are not ignored."""
    for signum in STOPS:
        if signal.getsignal(signum) not in (signal.SIG_IGN, None):
            signal.signal(signum, heed)


@contextmanager
def stops_wait() -> Iterator[None]:
    """Heed a stop when the body has run; a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []

    def wait(signum: int, frame: FrameType | None) -> None:
        waiting.append(signum)
        if len(waiting) > 1:
            raise KeyboardInterrupt

    before = {signum: handler for signum in STOPS if (handler := signal.getsignal(signum)) is not None}
    heed_stops(wait)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if waiting:
        signal.raise_signal(waiting[0])


def is_importing(frame: FrameType | None) -> bool:
    """Whether this is within an import, where some modules swallow KeyboardInterrupt, or raise another in its place."""
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None
