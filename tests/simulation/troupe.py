"""Plays seeds in processes, one for each core: every process has its Azurite, every seed its connection."""

import asyncio
import os
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from local.tls import ServerCertificate


class Outcome(msgspec.Struct, frozen=True):
    """What became of one seed."""

    seed: int
    words: str
    """One line; the whole story when a law was broken."""
    is_broken: bool = False


class Troupe:
    """Processes that play seeds."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def play(self, seeds: range, days: int) -> Iterator[Outcome]:
        """The outcomes in the order of the seeds."""
        return self._pool.map(_play, seeds, [days] * len(seeds))


@contextmanager
def troupe(processes: int | None = None) -> Iterator[Troupe]:
    """As many processes as there are cores, unless told otherwise."""
    count = processes or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_Player.begin) as pool:
        try:
            yield Troupe(pool)
        finally:
            pool.shutdown(cancel_futures=True)


class _Player:
    """What a process keeps between seeds."""

    instance: "_Player"

    def __init__(self, certificate: "ServerCertificate") -> None:
        from local.azurite import Azurite
        from local.microsoft.keys import KeyRing

        self._certificate = certificate
        self._keys = KeyRing()
        self._azurite = Azurite()
        self._runner = asyncio.Runner()
        self._runner.run(self._azurite.start())

    @classmethod
    def begin(cls) -> None:
        """Make this process a player."""
        # First: the libraries read the trusted authority when they are imported.
        from tests.conftest import AUTHORITY, pytest_unconfigure

        os.environ.pop("PBX_EMULATOR_JOURNAL", None)  # a law asks the emulator itself about every request
        cls.instance = cls(AUTHORITY.issue("simulation"))
        # A process of a pool runs no atexit handlers.
        Finalize(None, pytest_unconfigure, exitpriority=1)
        Finalize(None, cls.instance.end, exitpriority=2)

    def end(self) -> None:
        self._runner.run(self._azurite.__aexit__(None, None, None))
        self._runner.close()

    def play(self, seed: int, days: int) -> Outcome:
        from tests.simulation.days import Broken, repeat, simulate

        started = time.perf_counter()
        try:
            story = self._runner.run(simulate(self._azurite, self._certificate, self._keys, seed=seed, days=days))
        except Broken as error:
            return Outcome(seed, str(error), is_broken=True)
        except Exception:  # noqa: BLE001 - the other seeds are played all the same, and this one is named
            words = f"Seed {seed} fell over:\n{traceback.format_exc()}\n{repeat(seed, days)}"
            return Outcome(seed, words, is_broken=True)
        seconds = time.perf_counter() - started
        return Outcome(seed, f"{story.days} days, {story.runs} runs, {story.done} operations, {seconds:.2f} s")


def _play(seed: int, days: int) -> Outcome:
    return _Player.instance.play(seed, days)
