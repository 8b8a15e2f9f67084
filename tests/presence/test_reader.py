"""The thread that does first what was asked for last."""

import operator
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence.reader import LastFirst

PATIENCE = 10.0


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """The first job waits for it."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def reader(gate: threading.Event) -> Iterator[LastFirst]:
    one = LastFirst("test")
    yield one
    gate.set()
    one.shutdown()


def _occupy(reader: LastFirst, gate: threading.Event) -> None:
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        gate.wait(PATIENCE)

    reader.submit(wait)
    assert begun.wait(PATIENCE)


def test_of_those_that_wait_the_last_is_first(reader: LastFirst, gate: threading.Event) -> None:
    done: list[int] = []
    _occupy(reader, gate)

    jobs = [reader.submit(done.append, number) for number in range(5)]
    gate.set()
    for job in jobs:
        job.result(PATIENCE)

    assert done == [4, 3, 2, 1, 0]


def test_what_comes_while_others_wait_is_before_them(reader: LastFirst, gate: threading.Event) -> None:
    done: list[str] = []
    _occupy(reader, gate)

    def newest() -> None:
        done.append("newest")
        reader.submit(done.append, "later")

    old = reader.submit(done.append, "old")
    reader.submit(newest)
    gate.set()
    old.result(PATIENCE)

    assert done == ["newest", "later", "old"]


@given(st.lists(st.integers(min_value=-3, max_value=3)))
def test_each_job_has_its_own_end(divisors: list[int]) -> None:
    with LastFirst("test") as reader:
        jobs = [reader.submit(operator.floordiv, 6, divisor) for divisor in divisors]
        for divisor, job in zip(divisors, jobs, strict=True):
            if divisor:
                assert job.result(PATIENCE) == 6 // divisor
            else:
                assert isinstance(job.exception(PATIENCE), ZeroDivisionError)


def test_who_gives_up_is_passed_over(reader: LastFirst, gate: threading.Event) -> None:
    done: list[str] = []
    _occupy(reader, gate)

    kept, dropped = reader.submit(done.append, "kept"), reader.submit(done.append, "dropped")
    assert dropped.cancel()
    gate.set()
    kept.result(PATIENCE)

    assert done == ["kept"]


@pytest.mark.parametrize("drops", [True, False])
def test_a_shutdown_ends_or_drops_what_waits(reader: LastFirst, gate: threading.Event, drops: bool) -> None:
    _occupy(reader, gate)
    job = reader.submit(lambda: "done")
    reader.shutdown(wait=False, cancel_futures=drops)
    gate.set()
    reader.shutdown()

    assert job.cancelled() if drops else job.result(PATIENCE) == "done"
    with pytest.raises(RuntimeError):
        reader.submit(lambda: "too late")
