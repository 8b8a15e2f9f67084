"""Run records and their items: what was done, to whom, why, and with which outcome."""

import datetime
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import batched
from typing import Literal

import msgspec

from store.document import Settings
from store.errors import InvalidRecord
from store.links import Kind
from store.tables import Row, Tables, long_text

RUNS = "runs"
ITEMS = "runitems"
NEWEST = 10**14
"""Row keys count down from here in milliseconds, so that the newest run comes first."""

SETTINGS_KEY = "settings"

BLOCK = 100
"""Items in a row at most."""
GROWTH = 8
MOST_ROWS = 1000
"""Of a request's answer."""
FEW_ROWS = 4
"""Enough for a screenful of items."""
BLOCK_CHARACTERS = 200_000
"""Of the 1 MiB of a row, at two bytes a character and with room to spare."""

type Status = Literal["queued", "running", "succeeded", "partial", "failed", "refused", "cancelled"]
type Outcome = Literal["planned", "done", "skipped", "held", "failed"]
FINISHED: frozenset[str] = frozenset({"succeeded", "partial", "failed", "refused", "cancelled"})


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a run failed: a code for machines, what happened and what to do for people."""

    code: str
    message: str
    action: str = ""
    trace: str = ""
    """Traceback, for faults of our own only."""


class Step(msgspec.Struct, frozen=True):
    """One step of the explanation of a run about one user."""

    question: str
    answer: str
    detail: str


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One execution: read, plan, guard, apply, record."""

    id: str
    what: list[Kind]
    task: Literal["sync", "remove"] = "sync"
    """``remove``: delete what is synced, because an administrator asked for it."""
    mode: Literal["full", "incremental"]
    preview: bool = False
    object_id: str | None = None
    """Set when the run is about one object only."""
    status: Status = "queued"
    """``partial``: finished, but some items failed and will be tried again by the next run. ``cancelled``: an
    administrator changed the state of the connection while it was under way."""
    started_by: str
    """What asked for it: ``api``, ``schedule``, ``initial``, ``retry``, ``approval``."""
    requested_at: str
    started_at: str | None = None
    requeued_at: str | None = None
    """When its message was found lost and sent again."""
    finished_at: str | None = None
    duration_seconds: float | None = None
    executions: int = 0
    """How often work on it was begun; more than one after an interruption or near the time limit."""
    counts: dict[str, int] = {}
    """By operation and outcome, as ``create.done``; ``read`` and ``unchanged`` users; ``total`` operations planned.
    Those of groups begin with ``groups.``."""
    requests: dict[str, int] = {}
    """Requests sent to Graph and to the PBX."""
    items: int = 0
    """Items recorded so far."""
    requeues: int = 0
    """How often its message was found lost."""
    is_waiting: bool = False
    """Another run is in progress; this one is executed after it."""
    explanation: list[Step] = []
    """For a run about one user: found, in scope, matched, what changes, done."""
    message: str = ""
    fault: Fault | None = None
    decision: Literal["", "approved", "rejected"] = ""
    """What an administrator decided about the held deletions."""
    decides: str | None = None
    """The run whose held deletions this run carries out."""
    unsaved_settings: bool = False
    """A preview of settings that are not saved."""


class RunItem(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of a run with everything an administrator wants to know about it."""

    number: int = 0
    """Position in the run."""
    kind: Kind = "users"
    operation: str
    outcome: Outcome
    object_id: str
    name: str = ""
    user_principal_name: str = ""
    extension: str = ""
    pbx_id: int | None = None
    reason: str = ""
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    notes: list[str] = []
    """What was changed to meet the PBX's limits."""
    errcode: int | None = None
    at: str = ""


class RunStore:
    """The runs of one connection."""

    def __init__(self, tables: Tables, connection: str) -> None:
        self._tables = tables
        self._connection = connection

    async def create(self, run: Run) -> None:
        await self._tables.create(RUNS, self._row(run))

    async def save(self, run: Run) -> None:
        await self._tables.upsert(RUNS, self._row(run))

    async def get(self, run_id: str) -> Run | None:
        try:
            row = await self._tables.get(RUNS, self._connection, run_id)
        except InvalidRecord:
            return None  # an id that can be no key names no run
        return None if row is None else _run(row)

    async def load(self, run_id: str) -> tuple[Run, str] | None:
        """A run and its ETag, to be written back with ``replace``."""
        row = await self._tables.get(RUNS, self._connection, run_id)
        return None if row is None else (_run(row), row.etag)

    async def replace(self, run: Run, etag: str) -> None:
        """Save a run that was read with ``load``; ``Changed`` when it was saved since."""
        await self._tables.replace(RUNS, self._row(run), etag)

    async def newest(self, top: int, after: str = "") -> AsyncIterator[Run]:
        """At most ``top`` runs, newest first, beginning behind the run ``after``."""
        low = f"{after}-" if after else ""
        async for row in self._tables.query(RUNS, self._connection, low=low, top=top):
            yield _run(row)

    async def since(self, moment: datetime.datetime, top: int) -> AsyncIterator[Run]:
        """At most ``top`` runs that were asked for at ``moment`` or later, newest first; a request for each 1,000."""
        high = f"{NEWEST - int(moment.timestamp() * 1000) + 1:014d}"
        async for row in self._tables.query(RUNS, self._connection, high=high, top=top):
            yield _run(row)

    async def newer(self, run_id: str, top: int) -> AsyncIterator[Run]:
        """At most ``top`` runs that were asked for after the run ``run_id``, newest first; any for an empty one."""
        async for row in self._tables.query(RUNS, self._connection, high=run_id, top=top):
            yield _run(row)

    async def keep_settings(self, run_id: str, settings: Settings) -> None:
        """Keep settings that are not saved for the preview ``run_id``, until it has ended."""
        data = msgspec.json.encode(settings).decode()
        await self._tables.upsert(ITEMS, Row(_settings_partition(run_id), SETTINGS_KEY, long_text(data)))

    async def settings(self, run_id: str) -> Settings | None:
        """The settings kept for a preview; ``None`` when it has ended."""
        row = await self._tables.get(ITEMS, _settings_partition(run_id), SETTINGS_KEY)
        if row is None:
            return None
        try:
            return msgspec.json.decode(row.text(), type=Settings)
        except msgspec.DecodeError as error:
            raise InvalidRecord(f"the settings of the preview {run_id} do not decode: {error}") from error

    async def drop_settings(self, run_id: str) -> None:
        """Forget the settings of a preview; that they are gone already is no error."""
        await self._tables.delete(ITEMS, _settings_partition(run_id), SETTINGS_KEY)

    async def add_items(self, run_id: str, first: int, items: Iterable[RunItem]) -> int:
        """Record items, numbered from ``first``; answers the next free number. Repeating a call changes nothing.

        A row holds up to 100 items: items are read as a list and never changed, and a row each would be the larger part
        of what a first run costs in storage.
        """
        numbered = [msgspec.structs.replace(item, number=first + index) for index, item in enumerate(items)]
        for block in batched(numbered, BLOCK, strict=False):
            for row in _item_rows(run_id, block):
                await self._tables.upsert(ITEMS, row)
        return first + len(numbered)

    async def items(self, run_id: str, *, after: int = -1, first_rows: int = MOST_ROWS) -> AsyncIterator[RunItem]:
        """The items of a run in their order, beginning behind item ``after``. Who wants a few reads ``first_rows`` (a
        row has up to 100 items) in the first request, and eight times as many in each further one."""
        low = _item_key(max(0, after + 1 - BLOCK))  # the row that holds the first of them begins at most so far before
        top = taken = first_rows
        while taken == top:
            taken = 0
            async for row in self._tables.query(ITEMS, run_id, low=low, top=top):
                taken, low = taken + 1, f"{row.key}-"
                for item in _items(row):
                    if item.number > after:  # rows overlap where a killed execution had recorded more than it told
                        yield item
                        after = item.number
            if taken == top:
                top = taken = min(GROWTH * top, MOST_ROWS)

    def _row(self, run: Run) -> Row:
        return Row(self._connection, run.id, long_text(msgspec.json.encode(run).decode()))


def run_id(now: datetime.datetime, suffix: str) -> str:
    """An id that sorts newest first; ``suffix`` keeps two runs of one millisecond apart."""
    return f"{NEWEST - int(now.timestamp() * 1000):014d}-{suffix}"


def _run(row: Row) -> Run:
    try:
        return msgspec.json.decode(row.text(), type=Run)
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"the run {row.key} does not decode: {error}") from error


def _item(row: Row) -> RunItem:
    try:
        return msgspec.json.decode(row.text(), type=RunItem)
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"item {row.key} of the run {row.partition} does not decode: {error}") from error


def _item_rows(run_id: str, block: Sequence[RunItem]) -> Iterator[Row]:
    """One row, or more when the items are too long for one."""
    data = msgspec.json.encode(block).decode()
    if len(data) <= BLOCK_CHARACTERS or len(block) == 1:
        yield Row(run_id, _item_key(block[0].number), long_text(data))
        return
    middle = len(block) // 2
    yield from _item_rows(run_id, block[:middle])
    yield from _item_rows(run_id, block[middle:])


def _items(row: Row) -> list[RunItem]:
    try:
        return msgspec.json.decode(row.text(), type=list[RunItem])
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"the items {row.key} of the run {row.partition} do not decode: {error}") from error


def _item_key(number: int) -> str:
    return f"{number:010d}"


def _settings_partition(run_id: str) -> str:
    """Beside the items of the run, not among them."""
    return f"{run_id}-settings"
