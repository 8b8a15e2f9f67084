"""Presence: how it does now, the rules, and what they would do."""

from collections.abc import Sequence

import msgspec
from starlette.responses import Response

from console.app import Pages
from console.picker import Picker, chosen_ids, picked
from console.plain import plain
from console.presence_preview import Forecast, forecast
from console.presence_state import state_of
from console.presence_words import CHOICES, GROUPS, WARNINGS
from console.rules import Sheet, checked, read_only, save, sent_sheet, stored_sheet
from console.visit import Visit
from graph.errors import GraphError, NotFound
from store.document import Presence, Settings
from store.errors import SecretMissing
from store.presence import PresenceStore

PATH = "/console/presence"
SECTION = "presence"
FIELD = "/presence/group_ids"

pages = Pages()


class Preview(msgspec.Struct, frozen=True):
    """What the rules as typed would do now; or why that cannot be told."""

    forecast: Forecast | None
    trouble: str = ""


@pages.get(PATH)
async def presence_rules(visit: Visit) -> Response:
    """How presence does, and the rules as a form."""
    stored = await visit.connection.settings.load()
    return await _rendered(visit, stored_sheet(stored, [SECTION]))


@pages.get(f"{PATH}/state")
async def presence_state(visit: Visit) -> Response:
    """How presence does, anew."""
    if not visit.is_partial:
        return visit.go(PATH)
    return visit.render("part_presence_state.html", state=await state_of(visit), zone=await _zone(visit))


@pages.post(PATH)
async def change_presence_rules(visit: Visit) -> Response:
    """A button of the form: save, preview, or choose groups. Everything typed is kept, whatever comes of it."""
    sheet = sent_sheet(visit.form, [SECTION])
    act = visit.text("act") or ("search" if visit.text("search") else "save")
    if visit.text("add") or visit.text("remove"):
        return await _chosen(visit, _with_groups(sheet, chosen_ids(visit, _group_ids(sheet))))
    if act == "search":
        return await _chosen(visit, sheet)
    if act == "preview":
        return await _previewed(visit, sheet)
    done = await save(visit, sheet)
    return await _rendered(visit, done) if isinstance(done, Sheet) else visit.go(PATH, done="presence-saved")


async def _previewed(visit: Visit, sheet: Sheet) -> Response:
    """The form with what was typed, and what that would do; or with what is wrong with it."""
    sheet, _, settings = await checked(visit, sheet)
    if settings is None:
        return await _rendered(visit, sheet)
    return await _rendered(visit, sheet, preview=await previewed(visit, settings))


async def previewed(visit: Visit, settings: Settings) -> Preview:
    """What these rules would do now, by what is remembered about everybody. Only members of groups are asked for."""
    connection = visit.connection
    try:
        members = await _members(visit, settings) if settings.presence.users == "groups" else frozenset[str]()
    except (GraphError, SecretMissing) as error:
        return Preview(None, plain(f"{error}. {getattr(error, 'action', '')}".strip()))
    links = [link async for link in connection.links("users").all() if link.state == "linked"]
    rows = (await PresenceStore(connection.tables, connection.id).all()).values()
    ids = [link.object_id.lower() for link in links if link.pbx_id is not None]
    return Preview(forecast(rows, ids, settings.presence, members))


async def _members(visit: Visit, settings: Settings) -> frozenset[str]:
    """Who is in the groups, by object id in lower case; a group that is gone has no members."""
    found: set[str] = set()
    room = visit.presence_room
    async with await room.open_graph(settings, await visit.connection.health.load()) as graph:
        for group_id in settings.presence.group_ids:
            try:
                found |= {user_id.lower() async for user_id in graph.transitive_user_ids(group_id)}
            except NotFound:
                continue
    return frozenset(found)


async def _chosen(visit: Visit, sheet: Sheet) -> Response:
    """The form, or only its picker, after groups were searched for, added or removed."""
    if not visit.is_partial:
        return await _rendered(visit, sheet)
    template = "part_picker_found.html" if visit.text("act") == "search" else "part_picker.html"
    return visit.render(template, picker=await _picked(visit, sheet), is_part=True)


async def _rendered(visit: Visit, sheet: Sheet, *, preview: Preview | None = None) -> Response:
    """The page with the form as this sheet says."""
    return visit.render(
        "presence.html",
        sheet.status,
        state=await state_of(visit),
        zone=await _zone(visit),
        sheet=sheet,
        rules=sheet.sections[SECTION],
        faults=sheet.faults,
        picker=await _picked(visit, sheet),
        locked=read_only(await visit.connection.health.load()),
        preview=preview,
        groups=GROUPS,
        choices=CHOICES,
        warnings=WARNINGS,
        defaults=msgspec.to_builtins(Presence().default_map),
        is_part=False,
    )


async def _zone(visit: Visit) -> str:
    return (await visit.settings()).schedule.time_zone


async def _picked(visit: Visit, sheet: Sheet) -> Picker:
    return await picked(visit, PATH, FIELD, _group_ids(sheet))


def _with_groups(sheet: Sheet, ids: Sequence[str]) -> Sheet:
    changed = {**sheet.sections[SECTION], "group_ids": list(ids)}
    return msgspec.structs.replace(sheet, sections={SECTION: changed})


def _group_ids(sheet: Sheet) -> Sequence[str]:
    ids: list[str] = sheet.sections[SECTION]["group_ids"]
    return ids
