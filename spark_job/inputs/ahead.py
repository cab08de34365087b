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

    work: of an item and its deadline (by time.monotonic), in one of a few threads, which is left to itself, and another
    begun, where it takes longer.
    size: bytes that an item holds when it is there. Raises InputError where nothing comes any more, and what else work
    raises.
    """
    todo, done = SimpleQueue[tuple[int, T, float] | None](), SimpleQueue[tuple[int, A | BaseException]]()
    running, ready = dict[int, tuple[T, float]](), list[tuple[T, A | PhotoError]]()
    numbers, rest, hung = count(), iter(items), set[int]()
    following = next(rest, None)
    threads = late = held = 0

    def serve() -> None:
        while asked := todo.get():
            number, item, deadline = asked
            try:
                done.put((number, work(item, deadline)))
            except BaseException as error:
                done.put((number, error))

    try:
        while running or ready or following is not None:
            while (
                following is not None and len(running) < AT_ONCE and (not held or held + size(following) <= MAX_BYTES)
            ):
                number, deadline = next(numbers), time.monotonic() + timeout_s
                running[number] = following, deadline
                held += size(following)
                if threads < len(running) + len(hung):
                    Thread(target=serve, daemon=True).start()
                    threads += 1
                todo.put((number, following, deadline))
                following = next(rest, None)
            for number, answer in _answers(done, running, hung, timeout_s) if running else ():
                if isinstance(answer, BaseException) and not isinstance(answer, PhotoError):
                    raise answer
                late = late + 1 if isinstance(answer, LateError) else 0
                ready.append((running.pop(number)[0], answer))
            if late >= TOO_MANY_LATE:
                raise InputError(f"no store answers: of {late} photos in a row none came; of the last, {ready[-1][1]}")
            if len(ready) >= AT_ONCE or not running:
                yield ready
                ready, held = [], sum(size(item) for item, _ in running.values())
    finally:
        for _ in range(threads):
            todo.put(None)


def _answers(
    done: SimpleQueue[tuple[int, A | BaseException]],
    running: dict[int, tuple[T, float]],
    hung: set[int],
    timeout_s: float,
) -> list[tuple[int, A | BaseException]]:
    """The next that is there, or those whose time is over: hung, until they come after all."""
    first_deadline = next(iter(running.values()))[1]
    try:
        number, answer = done.get(timeout=max(first_deadline - time.monotonic(), 0))
    except Empty:
        now = time.monotonic()
        over = [number for number, (_, deadline) in running.items() if deadline <= now]
        hung.update(over)
        return [(number, LateError(timeout_s)) for number in over]
    if number in hung:
        hung.remove(number)
        return []
    return [(number, answer)]
