"""Ahead: what is slow and costs no processor, as reading over a network, is done while others are encoded."""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

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
    threads, rest = _Threads(work, timeout_s), iter(items)
    ready, following, late, held = list[tuple[T, A | PhotoError]](), next(rest, None), 0, 0
    try:
        while threads.running or ready or following is not None:
            while following is not None and len(threads.running) < AT_ONCE:
                if held and held + size(following) > MAX_BYTES:
                    break
                held += size(following)
                threads.begin(following)
                following = next(rest, None)
            for item, answer in threads.answers():
                if isinstance(answer, BaseException) and not isinstance(answer, PhotoError):
                    raise answer
                late = late + 1 if isinstance(answer, LateError) else 0
                if late == TOO_MANY_LATE:
                    raise InputError(f"no store answers: of {late} photos in a row none came; of the last, {answer}")
                ready.append((item, answer))
            if len(ready) >= AT_ONCE or not threads.running:
                yield ready
                ready, held = [], sum(size(item) for item, _ in threads.running.values())
    finally:
        threads.end()


class _Threads(Generic[T, A]):
    """Threads that go on from item to item: as many as are under way, and those that hang. See ahead.

    An executor of concurrent.futures has no place for another thread where one hangs, and waits for it in the end.
    running: number -> item and deadline, the first first.
    """

    def __init__(self, work: Callable[[T, float], A], timeout_s: float) -> None:
        self.running = dict[int, tuple[T, float]]()
        self._work, self._timeout_s = work, timeout_s
        self._todo = SimpleQueue[tuple[int, T, float] | None]()
        self._done = SimpleQueue[tuple[int, A | BaseException]]()
        self._numbers, self._started, self._hung = count(), 0, set[int]()

    def begin(self, item: T) -> None:
        number, deadline = next(self._numbers), time.monotonic() + self._timeout_s
        self.running[number] = item, deadline
        if self._started < len(self.running) + len(self._hung):
            Thread(target=self._serve, daemon=True).start()
            self._started += 1
        self._todo.put((number, item, deadline))

    def answers(self) -> list[tuple[T, A | BaseException]]:
        """The next that is there, or those whose time is over; none where what was given up has come after all."""
        if not self.running:
            return []
        first_deadline = next(iter(self.running.values()))[1]
        try:
            number, answer = self._done.get(timeout=max(first_deadline - time.monotonic(), 0))
        except Empty:
            now = time.monotonic()
            over = [number for number, (_, deadline) in self.running.items() if deadline <= now]
            self._hung.update(over)
            return [(self.running.pop(number)[0], LateError(self._timeout_s)) for number in over]
        if number in self._hung:
            self._hung.remove(number)
            return []
        return [(self.running.pop(number)[0], answer)]

    def end(self) -> None:
        """Have each thread end when it is done."""
        for _ in range(self._started):
            self._todo.put(None)

    def _serve(self) -> None:
        while asked := self._todo.get():
            number, item, deadline = asked
            try:
                self._done.put((number, self._work(item, deadline)))
            except BaseException as error:
                self._done.put((number, error))
