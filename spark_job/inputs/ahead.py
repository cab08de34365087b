"""Ahead: what is slow and costs no processor, as reading over a network, is done while others are encoded."""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from spark_job.errors import InputError, PhotoError

T = TypeVar("T")
A = TypeVar("A")

AT_ONCE = 16
MAX_BYTES = 64 * 2**20  # that may have been read and not yet encoded; a photo of more comes alone
# So many in a row, and none between that came or was refused: the store is away, and each photo would take its time.
TOO_MANY_LATE = 2 * AT_ONCE


class LateError(PhotoError):
    """A photo did not come in its time; last: what its store said last, if it said anything."""

    def __init__(self, timeout_s: float, last: str = "") -> None:
        told = f": its store last said {last}" if last else ""
        super().__init__("unreadable", f"it did not come in the {timeout_s:g} s that --photo-timeout allows{told}")


def ahead(
    work: Callable[[T, float], A], items: Iterable[T], timeout_s: float, size: Callable[[T], int] = lambda item: 0
) -> Iterator[list[tuple[T, A | PhotoError]]]:
    """Each item with what work says of it, some at a time and in any order; a PhotoError where it raised one.

    work: of an item and its deadline (by time.monotonic), in a thread, which is left to itself where it takes longer.
    size: bytes that an item holds when it is there. Raises InputError where nothing comes any more, and what else work
    raises.
    """
    done = SimpleQueue[tuple[int, A | BaseException]]()
    running, ready = dict[int, tuple[T, float]](), list[tuple[T, A | PhotoError]]()
    numbers, rest, late = count(), iter(items), 0
    following = next(rest, None)

    def begin(number: int, item: T, deadline: float) -> None:
        try:
            done.put((number, work(item, deadline)))
        except BaseException as error:
            done.put((number, error))

    def has_room(item: T) -> bool:
        held = [size(held) for held, _ in (*running.values(), *ready)]
        return len(running) < AT_ONCE and (not held or sum(held) + size(item) <= MAX_BYTES)

    while running or ready or following is not None:
        while following is not None and has_room(following):
            number, deadline = next(numbers), time.monotonic() + timeout_s
            running[number] = following, deadline
            Thread(target=begin, args=(number, following, deadline), daemon=True).start()
            following = next(rest, None)
        for number, answer in _answers(done, running, timeout_s) if running else ():
            if number not in running:  # given up, and come after all
                continue
            if isinstance(answer, BaseException) and not isinstance(answer, PhotoError):
                raise answer
            late = late + 1 if isinstance(answer, LateError) else 0
            ready.append((running.pop(number)[0], answer))
        if late >= TOO_MANY_LATE:
            raise InputError(f"no store answers: of {late} photos in a row none came; of the last, {ready[-1][1]}")
        if len(ready) >= AT_ONCE or not running:
            yield ready
            ready = []


def _answers(
    done: SimpleQueue[tuple[int, A | BaseException]], running: dict[int, tuple[T, float]], timeout_s: float
) -> list[tuple[int, A | BaseException]]:
    """The next that is there, or those whose time is over."""
    wait_s = min(deadline for _, deadline in running.values()) - time.monotonic()
    try:
        return [done.get(timeout=max(wait_s, 0))]
    except Empty:
        now = time.monotonic()
        return [(number, LateError(timeout_s)) for number, (_, deadline) in running.items() if deadline <= now]
