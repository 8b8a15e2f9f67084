"""What rules would do that are not saved yet: a run that stops after the plan, and its items."""

import msgspec
from starlette.responses import Response

from console.drafts import draft_of, keep
from console.rules import Sheet, checked, read_only
from console.visit import Refusal, Visit
from store.document import Settings
from store.health import Health
from store.links import Kind
from store.runs import FEW_ROWS, FINISHED, Run, RunItem
from sync.service import missing_secrets, request_run

PAGE = 100
FIGURES = {
    "create": "To create",
    "associate": "To associate",
    "update": "To update",
    "delete": "To delete",
    "release": "To release",
    "skip": "Skipped",
    "held": "Held",
}
"""What is counted, and what the items can be filtered by."""


class Figure(msgspec.Struct, frozen=True):
    """One count of a preview."""

    name: str
    label: str
    number: int


async def begin_preview(visit: Visit, kind: Kind, sheet: Sheet) -> Response | Sheet:
    """Start a preview of what was typed. Answers the sheet when something stands in the way, with the reason."""
    sheet, _, settings = await checked(visit, sheet)
    if settings is None:
        return sheet
    connection = visit.connection
    health = await connection.health.load()
    obstacle = read_only(health, kind) or await _incomplete(visit, settings)
    if obstacle:
        return msgspec.structs.replace(sheet, obstacle=obstacle)
    what = _what(kind, settings, health)
    run, message = await request_run(
        connection, visit.now, started_by="console", preview=True, what=what, settings=settings
    )
    await keep(visit, kind, sheet, run.id)
    visit.queue([message])
    await visit.audit("preview.started", subject=run.id)
    return visit.go(f"/console/{kind}/preview/{run.id}")


async def show_preview(visit: Visit, kind: Kind) -> Response:
    """The preview: how far it is, and what it found."""
    run = await _preview(visit, kind)
    is_over = run.status in FINISHED
    if visit.is_partial and is_over:
        return Response(headers={"HX-Refresh": "true"})
    filtered = visit.query("show") if visit.query("show") in FIGURES else ""
    items, following = await _items(visit, run, kind, filtered) if is_over else ([], None)
    return visit.render(
        "part_preview_progress.html" if visit.is_partial else "preview.html",
        run=run,
        kind=kind,
        is_over=is_over,
        is_good=run.status in {"succeeded", "partial"},
        fault=_fault(run),
        figures=[Figure(name, label, _count(run, kind, name)) for name, label in FIGURES.items()],
        unchanged=run.counts.get(f"{_prefix(kind)}unchanged", 0),
        filtered=filtered,
        items=items,
        following=following,
        has_draft=await draft_of(visit, kind, run.id) is not None,
    )


def _fault(run: Run) -> str:
    words = run.fault.message if run.fault else run.message
    return f"{words[:1].upper()}{words[1:].removesuffix('.')}." if words else ""


async def _incomplete(visit: Visit, settings: Settings) -> str:
    secrets = await missing_secrets(visit.connection, settings)
    missing = [*settings.missing(), *(f"the secret {name}" for name in secrets)]
    return f"The connection is not complete, so nothing can be read. Missing: {', '.join(missing)}." if missing else ""


def _what(kind: Kind, settings: Settings, health: Health) -> list[Kind]:
    """The kinds to plan. Who will have an extension decides who is in an extension group."""
    with_users = kind == "groups" and settings.users.enabled and "users" not in health.paused
    return ["users", "groups"] if with_users else [kind]


async def _preview(visit: Visit, kind: Kind) -> Run:
    run = await visit.connection.runs.get(visit.request.path_params["run_id"])
    if run is None or not run.preview or run.task != "sync" or kind not in run.what:
        raise Refusal(404, "Not found", "There is no such preview.", link=("The rules", f"/console/{kind}"))
    return run


async def _items(visit: Visit, run: Run, kind: Kind, filtered: str) -> tuple[list[RunItem], int | None]:
    """A page of the items of this kind, and the number behind which the next one begins."""
    text = visit.query("after")
    after = int(text) if _is_number(text) else -1
    items: list[RunItem] = []
    async for item in visit.connection.runs.items(run.id, after=after, first_rows=FEW_ROWS):
        if item.kind != kind or (filtered and filtered != _figure(item)):
            continue
        if len(items) == PAGE:
            return items, items[-1].number
        items.append(item)
    return items, None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10


def _figure(item: RunItem) -> str:
    """What an item is counted as."""
    return item.outcome if item.outcome == "held" else item.operation


def _count(run: Run, kind: Kind, figure: str) -> int:
    """As ``_figure`` counts the items."""
    prefix = _prefix(kind)
    if figure == "held":
        own = {name: number for name, number in run.counts.items() if name.startswith("groups.") == bool(prefix)}
        return sum(number for name, number in own.items() if name.endswith(".held"))
    names = [f"{prefix}{figure}.{outcome}" for outcome in ("planned", "skipped", "failed", "done")]
    return sum(run.counts.get(name, 0) for name in names)


def _prefix(kind: Kind) -> str:
    return "groups." if kind == "groups" else ""
