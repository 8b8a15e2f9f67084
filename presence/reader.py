"""A thread that does first what was asked for last: of notifications that wait, the newest are read before others."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any


class LastFirst(Executor):
    """One job at a time, of those that wait always the one that was submitted last."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._jobs: list[tuple[Future[Any], Callable[[], Any]]] = []
        """Those that wait, the newest last. To append and to pop is safe from any thread."""

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have ``fn`` called. ``RuntimeError`` after ``shutdown``."""
        job: Future[T] = Future()
        waiting = job, partial(fn, *args, **kwargs)
        self._jobs.append(waiting)
        try:
            self._thread.submit(self._do_newest)  # there are as many of these as of jobs, and each does one
        except RuntimeError:
            self._jobs.remove(waiting)
            raise
        return job

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs. Those that wait are done, or cancelled."""
        if cancel_futures:
            for job, _ in self._jobs:
                job.cancel()
        self._thread.shutdown(wait)

    def _do_newest(self) -> None:
        job, call = self._jobs.pop()
        if not job.set_running_or_notify_cancel():
            return
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - whoever asked for it is told
            job.set_exception(error)
        else:
            job.set_result(result)
