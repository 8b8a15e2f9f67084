"""The list of synced objects, searched, filtered and paged without reading tables.

It is kept packed and follows the runs: whoever looks at it first after a run merges that run's items into it; a full
run does so itself. A screenful takes two storage requests, and two more the first time after a run that did something.
An incremental run pays nothing for it. It holds nothing that the links and the items of runs do not, so it is made
anew whenever it is missing.
"""

import base64
import binascii
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from store.links import Kind, Link
from store.listing import ListStore
from store.runs import FINISHED, NEWEST, Outcome, Run, RunItem
from sync.connection import Connection

PAGE = 50
MOST_RUNS = 1000
MOST_READ = 20
"""Runs whose items are read to make the list anew, when no full run is known."""
SKEW_MS = 15 * 60 * 1000
"""Run ids come from the clocks of several processes: a run this much older than the newest one is surely known."""

type State = Literal["linked", "released", "skipped", "failed"]
type Order = Literal["name", "number", "state", "changed"]
type Key = list[str | int]


class BadToken(ValueError):
    """The token of a page that no page gave."""


class Row(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One line of the list. It is stored as an array: new members go to the end, with a default."""

    object_id: str
    name: str
    user_principal_name: str = ""
    number: str = ""
    state: State
    """``linked``, ``released``; without a link ``skipped``, or ``failed`` when the PBX did not take it."""
    outcome: Outcome = "done"
    """Of the last operation about it."""
    reason: str = ""
    """Of the same operation; empty when no run had anything to do about it since the list was made anew."""
    changed_at: str = ""
    """When the bridge last changed the PBX object, or said why there is none (RFC 3339, UTC)."""
    run_id: str = ""
    """The run that did so."""


class Position(msgspec.Struct, frozen=True):
    """How far the list has followed a run."""

    item: int
    """The last item in it."""
    items: int
    """The run's own count of its items at that time."""
    is_finished: bool


class Snapshot(msgspec.Struct, frozen=True):
    """The list of one kind."""

    rows: list[Row] = []
    floor: str = ""
    """This run and all before it are in the list."""
    followed: dict[str, Position] = {}
    """Later runs."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A screenful."""

    rows: list[Row]
    after: str | None
    """The token of the next page, ``None`` for the last one. It names a place, not a number: what comes and goes
    meanwhile makes no row appear twice."""
    total: int
    """Entries that fit the search and the filters, on all pages."""
    states: dict[State, int]
    """Entries of each state that fit the search and the outcome."""
    in_progress: bool
    """A run about them is under way."""


async def listed(
    connection: Connection,
    kind: Kind,
    *,
    order: Order = "name",
    descending: bool = False,
    search: str = "",
    state: State | None = None,
    outcome: Outcome | None = None,
    after: str | None = None,
    top: int = PAGE,
) -> Page:
    """A page of the linked, released and skipped objects of one kind.

    ``search`` is the beginning of the name or of a word in it, of the user principal name or of the number, in whatever
    case. ``BadToken`` when ``after`` is not from a page of the same order.
    """
    snapshot, in_progress = await follow(connection, kind)
    found = _found(snapshot.rows, search, outcome)
    fitting = [row for row in found if state in {None, row.state}]
    key = KEYS[order]
    begin = _place(after, key)
    rest = fitting if begin is None else [row for row in fitting if _is_behind(key(row), begin, descending)]
    pick = heapq.nlargest if descending else heapq.nsmallest
    page = pick(top + 1, rest, key=key)
    return Page(
        rows=page[:top],
        after=_token(key(page[top - 1])) if len(page) > top else None,
        total=len(fitting),
        states=dict(Counter(row.state for row in found)),
        in_progress=in_progress,
    )


async def follow(connection: Connection, kind: Kind) -> tuple[Snapshot, bool]:
    """The list with everything in it that runs recorded so far, and whether one is under way."""
    store = ListStore(connection.tables, connection.id, kind)
    stored, etag = await store.load()
    base = _decoded(stored)
    runs = [run async for run in connection.runs.newer(base.floor if base else "", MOST_RUNS)]
    ours = [run for run in runs if _is_about(run, kind)]
    in_progress = any(run.status not in FINISHED for run in ours)
    followed = base.followed if base else {}
    news = sorted((run for run in ours if _is_news(run, followed.get(run.id))), key=_begun)
    is_lost = base is None or len(runs) == MOST_RUNS
    if base is not None and not news and not is_lost:
        return base, in_progress
    merged = _with_floor(await _merged(connection, kind, base or Snapshot(), news, is_lost=is_lost), runs)
    await store.save(msgspec.json.encode(merged), etag)  # if somebody else was faster, ours is right all the same
    return merged, in_progress


def _decoded(stored: bytes | None) -> Snapshot | None:
    try:
        return None if stored is None else msgspec.json.decode(stored, type=Snapshot)
    except msgspec.DecodeError:
        return None  # of another version


def _is_about(run: Run, kind: Kind) -> bool:
    has_begun = not run.preview and run.status not in {"queued", "refused"}
    return has_begun and (kind in run.what or run.started_by == "disconnect")


def _is_news(run: Run, known: Position | None) -> bool:
    if known is None:
        return run.items > 0 or _is_exact(run)
    return not known.is_finished and (run.items != known.items or run.status in FINISHED)


def _begun(run: Run) -> str:
    return run.started_at or run.requested_at


def _is_complete(run: Run) -> bool:
    """Whether the run looked at everybody."""
    return (
        run.mode == "full" and run.task == "sync" and run.object_id is None and run.status in {"succeeded", "partial"}
    )


def _is_end(run: Run) -> bool:
    """Whether the connection was forgotten with this run."""
    return run.started_by == "disconnect" and run.task == "remove" and run.status == "succeeded"


def _is_exact(run: Run) -> bool:
    """Whether the items of a run do not tell all about the links after it: they have to be read."""
    if run.status not in FINISHED:
        return False
    is_broken = run.executions > 1 or (run.status in {"failed", "cancelled"} and run.counts.get("total", 0) > 0)
    return is_broken or run.task == "remove" or _is_complete(run)


async def _merged(
    connection: Connection, kind: Kind, base: Snapshot, news: Sequence[Run], *, is_lost: bool
) -> Snapshot:
    """``base`` and what these runs did, in the order in which they began. ``is_lost``: the base lacks something."""
    followed = {**base.followed, **{run.id: Position(-1, run.items, run.status in FINISHED) for run in news}}
    ends = [index for index, run in enumerate(news) if _is_end(run)]
    known = [] if ends else base.rows
    news = news[ends[-1] + 1 :] if ends else news
    complete = [index for index, run in enumerate(news) if _is_complete(run)]
    if complete:
        # It looked at everybody, so that nothing before it counts, and its items are needed from the first one on.
        known = [row for row in known if row.state in {"linked", "released"}]
        news = news[complete[-1] :]
    elif is_lost:
        news = news[-MOST_READ:]
    told: list[tuple[Run, RunItem]] = []
    for run in news:
        begin = base.followed[run.id].item if run.id in base.followed and not _is_complete(run) else -1
        items = [item async for item in connection.runs.items(run.id, after=begin)]
        last = items[-1].number if items else begin
        followed[run.id] = Position(last, run.items, run.status in FINISHED)
        told += [(run, item) for item in items if item.kind == kind]
    rows = {row.object_id: row for row in known}
    is_exact = is_lost or bool(ends) or any(map(_is_exact, news))
    if is_exact:
        links = [link async for link in connection.links(kind).all()]
        rows = _from_links(links, rows, is_complete=bool(complete))
    for run, item in told:
        _tell(rows, run, item, is_exact=is_exact)
    return Snapshot(list(rows.values()), base.floor, followed)


def _from_links(links: Iterable[Link], known: Mapping[str, Row], *, is_complete: bool) -> dict[str, Row]:
    """Rows as the links are, with what is known of them; and those without a link as they were. Behind a run that
    looked at everybody, trouble of before is over."""
    rows = {key: row for key, row in known.items() if row.state in {"skipped", "failed"}}
    for link in links:
        before = known.get(link.object_id, NOBODY)
        if is_complete and before.outcome != "done":
            before = NOBODY
        rows[link.object_id] = Row(
            object_id=link.object_id,
            name=link.name,
            user_principal_name=link.user_principal_name,
            number=link.number,
            state="released" if link.state == "released" else "linked",
            outcome=before.outcome,
            reason=link.leaving_reason or before.reason,
            changed_at=link.changed_at,
            run_id=link.run_id,
        )
    return rows


def _tell(rows: dict[str, Row], run: Run, item: RunItem, *, is_exact: bool) -> None:
    """Put one item of a run into the list. ``is_exact``: the links are in it as they are, only the reason is new."""
    before = rows.get(item.object_id)
    is_linked = before is not None and before.state in {"linked", "released"}
    if item.outcome == "done" and not is_exact:
        _carry_out(rows, run, item, before)
    elif before is not None and is_linked:
        rows[item.object_id] = msgspec.structs.replace(before, outcome=item.outcome, reason=item.reason)
    elif item.outcome in {"skipped", "failed"}:
        state: State = "skipped" if item.outcome == "skipped" else "failed"
        rows[item.object_id] = _row(run, item, state)


def _carry_out(rows: dict[str, Row], run: Run, item: RunItem, before: Row | None) -> None:
    if item.operation == "delete":
        rows.pop(item.object_id, None)
        return
    row = _row(run, item, "released" if item.operation == "release" else "linked")
    if not row.number and before is not None:
        row = msgspec.structs.replace(row, number=before.number)
    rows[item.object_id] = row


def _row(run: Run, item: RunItem, state: State) -> Row:
    return Row(
        object_id=item.object_id,
        name=item.name,
        user_principal_name=item.user_principal_name,
        number=item.extension if state in {"linked", "released"} else "",
        state=state,
        outcome=item.outcome,
        reason=item.reason,
        changed_at=item.at,
        run_id=run.id,
    )


def _with_floor(snapshot: Snapshot, runs: Sequence[Run]) -> Snapshot:
    """Forget what is known of runs that are over for good. ``runs`` begins with the newest one."""
    if not runs:
        return snapshot
    newest = _asked_at(runs[0].id)
    floor = snapshot.floor
    for run in reversed(runs):
        if run.status not in FINISHED or newest - _asked_at(run.id) < SKEW_MS:
            break
        floor = run.id
    # The key of an earlier run is the larger one.
    followed = {key: position for key, position in snapshot.followed.items() if not floor or key < floor}
    return Snapshot(snapshot.rows, floor, followed)


def _asked_at(run_id: str) -> int:
    """When a run was asked for, in milliseconds since the epoch."""
    return NEWEST - int(run_id[:14])


def _found(rows: Iterable[Row], search: str, outcome: Outcome | None) -> list[Row]:
    wanted = " ".join(search.split()).casefold()
    return [row for row in rows if outcome in {None, row.outcome} and (not wanted or _begins_so(row, wanted))]


def _begins_so(row: Row, wanted: str) -> bool:
    name = row.name.casefold()
    return (
        name.startswith(wanted)
        or f" {wanted}" in name
        or row.number.startswith(wanted)
        or row.user_principal_name.casefold().startswith(wanted)
    )


def _by_name(row: Row) -> Key:
    return [row.name.casefold(), row.object_id]


def _by_number(row: Row) -> Key:
    """As numbers are counted; whoever has none comes last."""
    return [len(row.number) or 99, row.number, *_by_name(row)]


def _by_state(row: Row) -> Key:
    return [row.state, *_by_name(row)]


def _by_change(row: Row) -> Key:
    return [row.changed_at, *_by_name(row)]


KEYS: Mapping[Order, Callable[[Row], Key]] = {
    "name": _by_name,
    "number": _by_number,
    "state": _by_state,
    "changed": _by_change,
}
NOBODY = Row(object_id="", name="", state="linked")


def _is_behind(key: Key, begin: Key, descending: bool) -> bool:
    return key < begin if descending else key > begin


def _token(key: Key) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode()


def _place(token: str | None, key: Callable[[Row], Key]) -> Key | None:
    """The key behind which a page begins; ``BadToken`` when it is none of this order."""
    if not token:
        return None
    try:
        place = msgspec.json.decode(base64.urlsafe_b64decode(token), type=list[str | int])
    except (binascii.Error, ValueError):
        raise BadToken("This page does not exist. Begin with the first one.") from None
    if list(map(type, place)) != list(map(type, key(NOBODY))):
        raise BadToken("This page belongs to another order. Begin with the first one.")
    return place
