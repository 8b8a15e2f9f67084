"""The record of a run while it is under way: its state, its items and their counts."""

import datetime
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from store.errors import Changed
from store.links import Kind
from store.runs import FINISHED, Run, RunItem, RunStore

log = logging.getLogger("sync")

ITEMS_AN_EXECUTION = 1_000_000
SHOWN_SECONDS = 2.0
"""How long the record may lag behind what was done."""


class Journal:
    """One execution's hold on the record of its run."""

    def __init__(self, runs: RunStore, run: Run, etag: str, now: Callable[[], datetime.datetime]) -> None:
        self._runs = runs
        self._etag = etag
        self._now = now
        self._next_item = 0
        self.run = run
        self.is_resumed = False
        """An earlier execution worked on the run."""
        self.sent: Callable[[], dict[str, int]] = dict
        """Requests that this execution sent so far."""
        self._earlier: dict[str, int] = {}
        self._shown = 0.0

    async def begin(self) -> bool:
        """Mark the run as under way. ``False`` when it is finished: another execution did it meanwhile."""
        while self.run.status not in FINISHED:
            self.is_resumed = self.run.executions > 0
            self._earlier = self.run.requests
            self._next_item = self.run.executions * ITEMS_AN_EXECUTION
            if self.is_resumed:
                await self._recount()
            self._change(
                status="running",
                started_at=self.run.started_at or self.stamp(),
                executions=self.run.executions + 1,
                is_waiting=False,
                message="",
                fault=None,
            )
            try:
                await self._runs.replace(self.run, self._etag)
            except Changed:
                if not await self.reload():
                    return False
            else:
                return True
        return False

    async def reload(self) -> bool:
        """Read the record again; ``False`` when it is gone or finished."""
        loaded = await self._runs.load(self.run.id)
        if loaded is None:
            return False
        self.run, self._etag = loaded
        return self.run.status not in FINISHED

    async def _recount(self) -> None:
        """Count the items of earlier executions: one that was killed stored items that it did not come to count."""
        items = [item async for item in self._runs.items(self.run.id)]
        counts = {name: number for name, number in self.run.counts.items() if "." not in name}
        # What was not done is planned again, and counted then.
        counts = counted(counts, [item for item in items if item.outcome == "done"])
        self._change(counts=counts, items=len(items))

    def planned(self, kind: Kind, numbers: Mapping[str, int], operations: int) -> None:
        """Count what a plan found and will do. An execution that continues a run plans what is left; what was read
        stays as it was."""
        counts = dict(self.run.counts)
        for name, number in numbers.items():
            counts.setdefault(_name(kind, name), number)
        counts["total"] = self.run.items + operations
        self._change(counts=counts)

    def explain(self, steps: Sequence[Any]) -> None:
        self._change(explanation=list(steps))

    async def record(self, items: Sequence[RunItem]) -> None:
        """Store items and count them on the run."""
        self._next_item = await self._runs.add_items(self.run.id, self._next_item, items)
        counts = counted(self.run.counts, items)
        self._change(counts=counts, items=self.run.items + len(items))
        # So that somebody who watches sees it grow; the last of it is saved with the end.
        if self.run.items < counts.get("total", 0) and time.monotonic() - self._shown > SHOWN_SECONDS:
            await self.save()

    async def save(self, **changes: Any) -> None:
        self._shown = time.monotonic()
        self._change(**changes)
        await self._runs.save(self.run)

    async def end(self, status: str, message: str, **changes: Any) -> None:
        """Save the run as finished."""
        await self.save(
            status=status, finished_at=self.stamp(), duration_seconds=self._duration(), message=message, **changes
        )

    async def finish(self, message: str) -> None:
        """Save the run as carried out to its end."""
        failed = sum(number for name, number in self.run.counts.items() if name.endswith(".failed"))
        await self.end("partial" if failed else "succeeded", message or summary(self.run.counts))
        log.info("Run %s finished: %s", self.run.id, self.run.message)

    def stamp(self) -> str:
        return self._now().isoformat(timespec="milliseconds")

    def _change(self, **changes: Any) -> None:
        sent = self.sent()
        requests = {name: self._earlier.get(name, 0) + number for name, number in sent.items()} or self._earlier
        self.run = msgspec.structs.replace(self.run, **{"requests": requests, **changes})

    def _duration(self) -> float | None:
        if self.run.started_at is None:
            return None
        started = datetime.datetime.fromisoformat(self.run.started_at)
        return round((self._now() - started).total_seconds(), 3)


def counted(counts: Mapping[str, int], items: Sequence[RunItem]) -> dict[str, int]:
    """``counts`` with these items added, by operation and outcome."""
    total = dict(counts)
    for item in items:
        name = _name(item.kind, f"{item.operation}.{item.outcome}")
        total[name] = total.get(name, 0) + 1
    return total


def _name(kind: Kind, name: str) -> str:
    return name if kind == "users" else f"{kind}.{name}"


WORDS = {
    "create.done": "created", "associate.done": "associated", "update.done": "updated", "delete.done": "deleted",
    "release.done": "released", "create.planned": "to create", "associate.planned": "to associate",
    "update.planned": "to update", "delete.planned": "to delete", "release.planned": "to release",
    "unchanged": "unchanged",
}  # fmt: skip


def summary(counts: Mapping[str, int]) -> str:
    """A run in one sentence, or two when it was about groups as well."""
    groups = {name.removeprefix("groups."): number for name, number in counts.items() if name.startswith("groups.")}
    users = _clause({name: number for name, number in counts.items() if not name.startswith("groups.")})
    if not groups:
        return users
    return f"Users: {users[:1].lower()}{users[1:]} Groups: {_clause(groups)[:1].lower()}{_clause(groups)[1:]}"


def _clause(counts: Mapping[str, int]) -> str:
    parts = [f"{counts[name]} {word}" for name, word in WORDS.items() if counts.get(name)]
    for outcome in ("skipped", "held", "failed"):
        number = sum(value for name, value in counts.items() if name.endswith(f".{outcome}"))
        parts += [f"{number} {outcome}"] if number else []
    return f"{', '.join(parts)}." if parts else "Nothing to do."
