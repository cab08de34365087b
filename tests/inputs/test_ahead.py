"""Several at once, each in its time; what does not come costs itself, and a store that is away the task."""

import threading
import time

import pytest

from spark_job.errors import InputError, PhotoError
from spark_job.inputs import ahead as module
from spark_job.inputs.ahead import AT_ONCE, TOO_MANY_LATE, LateError, ahead


def together(answers):
    return [pair for some in answers for pair in some]


def test_each_has_its_answer_and_several_are_under_way_at_once():
    met = threading.Barrier(AT_ONCE, timeout=10)  # passed only by so many together

    def work(item, deadline):
        met.wait()
        return 2 * item

    assert sorted(together(ahead(work, range(4 * AT_ONCE), 60))) == [(i, 2 * i) for i in range(4 * AT_ONCE)]


def test_the_next_are_read_while_the_first_are_dealt_with():
    begun = []
    answers = ahead(lambda item, deadline: begun.append(item), range(3 * AT_ONCE), 60)
    next(answers)
    deadline = time.monotonic() + 10
    while len(begun) < 2 * AT_ONCE - 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_error_of_one_is_its_answer_and_another_error_is_raised():
    def work(item, deadline):
        if item == 1:
            raise PhotoError("unreadable", "gone")
        return item

    found = dict(together(ahead(work, range(3), 60)))
    assert (found[0], found[2], str(found[1])) == (0, 2, "gone")
    with pytest.raises(ZeroDivisionError):
        together(ahead(lambda item, deadline: 1 // item, range(3), 60))


def test_one_that_hangs_is_given_up_and_holds_none_of_the_others_up():
    ends = threading.Event()

    def work(item, deadline):
        if item == 5:
            ends.wait(60)
        return item

    begun, seen = time.monotonic(), []
    for some in ahead(work, range(200), 1):
        seen += some
        if len(seen) > 100:
            assert 5 not in dict(seen)
            break
    assert time.monotonic() - begun < 1
    found = dict(together(ahead(work, range(200), 1)))
    ends.set()
    assert isinstance(found.pop(5), LateError)
    assert found == {i: i for i in range(200) if i != 5}


def test_threads_go_on_with_the_next_and_end_with_the_last():
    ends, workers = threading.Event(), set()

    def work(item, deadline):
        workers.add(threading.current_thread())
        if item < 3:
            ends.wait(60)
        return item

    assert len(together(ahead(work, range(1000), 3))) == 1000
    assert len(workers) <= AT_ONCE + 3, "those that hang, and as many as are under way beside them"
    assert sum(worker.is_alive() for worker in workers) >= 3
    ends.set()
    next(answers := ahead(work, range(3, 1000), 60))
    answers.close()
    for worker in workers:
        worker.join(10)
        assert not worker.is_alive()


@pytest.mark.parametrize("late", ["hangs", "is told"])
def test_where_none_comes_any_more_the_task_ends(late):
    ends = threading.Event()

    def work(item, deadline):
        if late == "hangs":
            ends.wait(60)
        raise LateError(0.1, "SLOW_DOWN")

    taken = []
    with pytest.raises(InputError, match=rf"no store answers: of {TOO_MANY_LATE} photos in a row none came"):
        together(ahead(work, (taken.append(i) or i for i in range(10_000)), 0.1))
    ends.set()
    assert len(taken) < 4 * TOO_MANY_LATE


def test_late_ones_between_others_end_no_task():
    def work(item, deadline):
        if item % 3:
            raise LateError(1)
        raise PhotoError("unreadable", "its store refuses it")

    assert len(together(ahead(work, range(10 * TOO_MANY_LATE), 60))) == 10 * TOO_MANY_LATE


def test_no_more_bytes_are_held_than_may_be(monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    lock, held, most = threading.Lock(), [0], [0]

    def work(item, deadline):
        with lock:
            held[0] += item
            most[0] = max(most[0], held[0])
        time.sleep(0.01)

    for some in ahead(work, [30, 40, 50, 60, 300, 10, 20, 100, 5] * 3, 60, lambda item: item):
        with lock:
            held[0] -= sum(item for item, _ in some)
    assert most[0] == 300  # one of more than that comes alone
