"""Runs: ask for one, follow it, look at what it did, and decide about the deletions that it holds."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import msgspec
from starlette.responses import Response

from console.app import Pages
from console.exports import csv_file, json_file
from console.plain import plain
from console.templating import OUTCOMES
from console.visit import Refusal, Visit
from store.document import Settings
from store.errors import StoreError
from store.links import Kind
from store.runs import FEW_ROWS, FINISHED, Run, RunItem
from store.validation import GUID
from sync.connection import Connection
from sync.messages import Message
from sync.running import active_kinds
from sync.service import decide, missing_secrets, request_run

RUNS_A_PAGE = 50
ITEMS_A_PAGE = 100
HELD_SHOWN = 20
"""Held deletions beside the question about them; the list of items has all."""
RECENT = 20
"""Among so many of the newest runs is the one that is under way, if there is one."""
KINDS: tuple[Kind, ...] = ("users", "groups")
FOUND = {"read": "read", "unchanged": "unchanged", "out_of_scope": "out of scope", "leaving": "marked to be deleted"}
"""What a run counts besides its operations."""
OBJECTS = {"users": ("extension", "extensions"), "groups": ("extension group", "extension groups")}
REMOVALS = {"delete": "delete", "release": "release"}

pages = Pages()


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """What can be synced now, and what stands in the way of the rest."""

    kinds: list[Kind] = []
    is_connected: bool = True
    obstacle: str = ""
    """Why nothing can be synced; empty when something can."""
    link: tuple[str, str] | None = None
    """Label and address of the page that mends it."""


class Progress(msgspec.Struct, frozen=True):
    """How far a run under way has come."""

    done: int
    total: int
    """Operations planned; 0 while the plan is not made yet."""
    words: str
    step: int
    """Grows with every tenth of the work: so often it is said aloud."""


class Tally(msgspec.Struct, frozen=True):
    """What a run did with one kind of objects, in numbers."""

    kind: Kind
    found: list[tuple[str, int]]
    outcomes: list[str]
    """The columns: outcomes that occur."""
    rows: list[tuple[str, list[int]]]
    """Of each operation that occurs how often it had each of ``outcomes``."""


class Filter(msgspec.Struct, frozen=True):
    """Which items of a run are wanted; an empty member wants all."""

    outcome: str = ""
    kind: str = ""

    def admits(self, item: RunItem) -> bool:
        return self.outcome in {"", item.outcome} and self.kind in {"", item.kind}

    def parameters(self) -> dict[str, str]:
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value}


@pages.get("/console/runs")
async def list_runs(visit: Visit) -> Response:
    """The runs, newest first."""
    after = _run_id(visit.query("after"))
    settings = await visit.settings()
    found = [run async for run in visit.connection.runs.newest(RUNS_A_PAGE + 1, after)]
    shown = found[:RUNS_A_PAGE]
    return visit.render(
        "runs.html",
        runs=[(run, about(run), lasted(run.duration_seconds)) for run in shown],
        older=shown[-1].id if len(found) > RUNS_A_PAGE else "",
        is_newest=not after,
        kinds=KINDS,
        ready=await readiness(visit.connection, settings),
        zone=settings.schedule.time_zone,
    )


@pages.post("/console/runs")
async def start(visit: Visit) -> Response:
    """Ask for a run or, with ``preview``, for a plan. ``object_id`` makes it about one object."""
    is_preview, object_id = visit.is_set("preview"), _object_id(visit)
    mode: Literal["full", "incremental"] = "incremental" if visit.text("mode") == "incremental" else "full"
    ready = await readiness(visit.connection, await visit.settings())
    what = _wanted(visit, ready, is_preview=is_preview)
    if not is_preview:
        await _check_idle(visit.connection)
    run, message = await request_run(
        visit.connection, visit.now, started_by="console", what=what, mode=mode, preview=is_preview, object_id=object_id
    )
    visit.queue([message])
    await visit.audit("sync.previewed" if is_preview else "sync.started", subject=run.id, after=about(run))
    return visit.go(f"/console/runs/{run.id}", done="started")


async def readiness(connection: Connection, settings: Settings) -> Readiness:
    """What a run could do now."""
    connect = ("Connect", "/connect")
    try:
        absent = [f"the secret {name}" for name in await missing_secrets(connection, settings)]
    except StoreError as error:
        return Readiness(is_connected=False, obstacle=f"The secrets cannot be looked up: {error}.")
    if missing := [*settings.missing(), *absent]:
        words = f"The bridge is not connected yet. Missing: {plain(', '.join(missing))}."
        return Readiness(is_connected=False, obstacle=words, link=connect)
    health = await connection.health.load()
    if health.disabled:
        words = "The connection is being ended." if health.is_disconnecting else "The integration is disabled."
        return Readiness(obstacle=words, link=("Connection", "/console/connection"))
    if kinds := active_kinds(settings, health):
        return Readiness(kinds=kinds)
    if health.paused:
        words = f"The synchronization of {' and '.join(health.paused)} is paused."
        return Readiness(obstacle=words, link=("Connection", "/console/connection"))
    words = "Neither users nor groups are switched on, so there is nothing to synchronize."
    return Readiness(obstacle=words, link=("Rules for users", "/console/users"))


def _wanted(visit: Visit, ready: Readiness, *, is_preview: bool) -> list[Kind]:
    """The kinds that a form asks for; without any it is all that is on. ``Refusal`` when it cannot be."""
    asked = visit.texts("what")
    if not ready.is_connected or (ready.obstacle and not is_preview):
        raise Refusal(409, "Not possible now", f"{ready.obstacle} Nothing was started.", link=ready.link)
    if any(kind not in KINDS for kind in asked) or (visit.is_set("choose") and not asked):
        raise Refusal(422, "Nothing to do", "Choose users, groups or both. Nothing was started.")
    chosen = [kind for kind in KINDS if kind in asked] or ready.kinds or ["users"]
    off = [] if is_preview else [kind for kind in chosen if kind not in ready.kinds]
    if off:
        words = f"The synchronization of {' and '.join(off)} is off or paused. Nothing was started."
        raise Refusal(409, "Not possible now", words, link=(f"Rules for {off[0]}", f"/console/{off[0]}"))
    return chosen


def _object_id(visit: Visit) -> str | None:
    object_id = visit.text("object_id").lower()
    if object_id and not GUID.fullmatch(object_id):
        raise Refusal(422, "Not an object id", "The object id of a user or a group is a GUID. Nothing was started.")
    return object_id or None


async def _check_idle(connection: Connection) -> None:
    """``Refusal`` while another run is queued or under way: it would only be recorded as not started."""
    async for run in connection.runs.newest(RECENT):
        if run.status not in FINISHED and not run.preview:
            words = "Only one run at a time writes to the PBX, and another one is not finished. Nothing was started."
            link = ("Follow the run", f"/console/runs/{run.id}")
            raise Refusal(409, "A run is in progress", words, action="Ask again when it is finished.", link=link)


@pages.get("/console/runs/{run_id}")
async def show(visit: Visit) -> Response:
    """One run: how far it is while it is under way, then what it did."""
    run = await _run(visit)
    is_open = run.status not in FINISHED
    if visit.is_partial and not is_open:
        return visit.go(f"/console/runs/{run.id}")
    zone = (await visit.settings()).schedule.time_zone
    common: dict[str, Any] = {
        "run": run,
        "is_open": is_open,
        "progress": progress(run),
        "said": visit.query("said"),
        "about": about(run),
        "lasted": lasted(run.duration_seconds),
        "zone": zone,
    }
    if visit.is_partial:
        return visit.render("part_run.html", **common)
    chosen = _filter(visit)
    items, following = await _page(visit, run, chosen)
    return visit.render(
        "run.html",
        **common,
        tallies=[tally for kind in KINDS if (tally := tally_of(run.counts, kind)).rows or tally.found],
        items=items,
        following=following,
        is_first=not visit.query("after"),
        chosen=chosen,
        kinds=KINDS,
        held=await _held(visit, run) if run.status in FINISHED and not run.preview else [],
        held_number=held_number(run),
        held_words=held_words(run.counts),
    )


@pages.get("/console/runs/{run_id}/items.csv")
async def download_csv(visit: Visit) -> Response:
    """The items that the filter of the page leaves, for a spreadsheet."""
    run = await _run(visit)
    # The host sends whole answers. Read before it begins, a fault of storage is a page about it and not half a file.
    return _download(await csv_file(_items(visit, run, _filter(visit))), run, "csv", "text/csv; charset=utf-8")


@pages.get("/console/runs/{run_id}/items.json")
async def download_json(visit: Visit) -> Response:
    """The run and the items that the filter of the page leaves, for a program."""
    run = await _run(visit)
    return _download(await json_file(run, _items(visit, run, _filter(visit))), run, "json", "application/json")


@pages.post("/console/runs/{run_id}/approve")
async def approve(visit: Visit) -> Response:
    """Have the held deletions carried out by a run of their own."""
    messages = await _decide(visit, "approved")
    return visit.go(f"/console/runs/{messages[0].run}", done="approved")


@pages.post("/console/runs/{run_id}/reject")
async def reject(visit: Visit) -> Response:
    """Keep what is held."""
    await _decide(visit, "rejected")
    return visit.go(f"/console/runs/{visit.request.path_params['run_id']}", done="rejected")


async def _decide(visit: Visit, decision: Literal["approved", "rejected"]) -> list[Message]:
    """Decide about just as many as the page named; ``Refusal`` when they are not confirmed."""
    run = await _run(visit)
    if run.status not in FINISHED:
        raise Refusal(409, "Not finished", "The run is not finished. Nothing was decided.", action="Decide then.")
    number = held_number(run)
    if number and visit.text("count") != str(number):
        words = f"The run would {held_words(run.counts)}. Nothing was decided, because that was not confirmed."
        link = ("Back to the run", f"/console/runs/{run.id}")
        raise Refusal(422, "Not confirmed", words, action="Tick the box that names the number.", link=link)
    _, messages = await decide(visit.connection, run.id, decision, visit.now)
    visit.queue(messages)
    await visit.audit(f"held.{decision}", subject=run.id, after=held_words(run.counts))
    return messages


async def _run(visit: Visit) -> Run:
    run_id = visit.request.path_params["run_id"]
    run = await visit.connection.runs.get(run_id)
    if run is None:
        raise Refusal(404, "No such run", f"There is no run {run_id[:80]}.", link=("All runs", "/console/runs"))
    return run


def _run_id(text: str) -> str:
    """What an address names as the run behind which a page begins; an id has letters, digits and dashes only."""
    if not re.fullmatch(r"[0-9A-Za-z-]{0,64}", text):
        raise Refusal(404, "No such page", "The list has no such page.", link=("All runs", "/console/runs"))
    return text


def _filter(visit: Visit) -> Filter:
    return Filter(visit.query("outcome"), visit.query("kind"))


async def _items(visit: Visit, run: Run, chosen: Filter, after: int = -1) -> AsyncIterator[RunItem]:
    """The wanted items of a run behind item ``after``, read from storage while they are taken."""
    async for item in visit.connection.runs.items(run.id, after=after, first_rows=FEW_ROWS):
        if chosen.admits(item):
            yield item


async def _page(visit: Visit, run: Run, chosen: Filter) -> tuple[list[RunItem], int | None]:
    """A page of items, and the number behind which the next one begins."""
    text = visit.query("after")
    if not re.fullmatch(r"[0-9]{0,15}", text):
        raise Refusal(404, "No such page", "The list has no such page.", link=("The run", f"/console/runs/{run.id}"))
    items: list[RunItem] = []
    async for item in _items(visit, run, chosen, int(text or -1)):
        if len(items) == ITEMS_A_PAGE:
            return items, items[-1].number
        items.append(item)
    return items, None


async def _held(visit: Visit, run: Run) -> list[RunItem]:
    """The first of what the run holds; nothing when that was decided."""
    if run.decision or not held_number(run):
        return []
    items: list[RunItem] = []
    async for item in _items(visit, run, Filter("held")):
        items.append(item)
        if len(items) == HELD_SHOWN:
            break
    return items


def _download(body: bytes, run: Run, ending: str, media_type: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="run-{run.id}.{ending}"'}
    return Response(body, media_type=media_type, headers=headers)


def held_number(run: Run) -> int:
    """How many removals the run holds."""
    return sum(number for name, number in run.counts.items() if name.endswith(".held"))


def held_words(counts: Mapping[str, int]) -> str:
    """What approving would do, as ``delete 23 extensions and 1 extension group``."""
    parts: list[str] = []
    for kind in KINDS:
        prefix = "" if kind == "users" else f"{kind}."
        for operation, verb in REMOVALS.items():
            if number := counts.get(f"{prefix}{operation}.held", 0):
                parts.append(f"{verb} {number} {OBJECTS[kind][number != 1]}")
    return " and ".join(parts)


def about(run: Run) -> str:
    """What a run is about, in a few words."""
    what = " and ".join(run.what)
    if run.object_id is not None:
        what = f"one {run.what[0].removesuffix('s')}"
    if run.task == "remove":
        words = f"deletion of {what}" if run.what else "end of the connection"
    else:
        words = what if run.object_id is not None else f"{what}, {run.mode}"
    words = f"preview: {words}" if run.preview else words
    return f"{words[:1].upper()}{words[1:]}"


def progress(run: Run) -> Progress:
    """How far a run has come."""
    total, done = run.counts.get("total", 0), run.items
    if run.status == "queued":
        return Progress(0, 0, run.message or "Waits for its turn.", 0)
    if not total:
        return Progress(0, 0, run.message or "Reads Microsoft 365 and the PBX.", 1)
    done = min(done, total)
    return Progress(done, total, f"{done} of {total} operations.", 2 + 10 * done // total)


def tally_of(counts: Mapping[str, int], kind: Kind) -> Tally:
    """The counts of a run about one kind, as a table."""
    is_groups = kind == "groups"
    mine = {name.removeprefix("groups."): number for name, number in counts.items()
            if name.startswith("groups.") == is_groups}  # fmt: skip
    cells = {name: number for name, number in mine.items() if "." in name}
    outcomes = [name for name in OUTCOMES if any(cell.endswith(f".{name}") for cell in cells)]
    operations = dict.fromkeys(name.partition(".")[0] for name in cells)
    rows = [(one, [cells.get(f"{one}.{outcome}", 0) for outcome in outcomes]) for one in operations]
    return Tally(kind, [(words, mine[name]) for name, words in FOUND.items() if mine.get(name)], outcomes, rows)


def lasted(seconds: float | None) -> str:
    """A duration as people say it; empty when it is not known."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
