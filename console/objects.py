"""What is synced, one by one: lists of users and groups, and everything the bridge knows about one user."""

import asyncio
from collections.abc import Iterable, Mapping
from itertools import batched
from typing import get_args

import msgspec
from starlette.responses import Response

from console.app import Pages
from console.visit import Refusal, Visit
from store.links import Kind, Link
from store.runs import FINISHED, Outcome, Run, RunItem
from store.validation import GUID
from sync.choices import UserChoice, search_users
from sync.connect import Trouble
from sync.connection import Connection
from sync.grace import forecast
from sync.listing import BadToken, Order, Page, State, listed
from sync.plan import Leaving

ITEMS_SHOWN = 10
RUNS_AT_ONCE = 10
RUNS_LOOKED_AT = 20
"""Runs whose items are searched for one user, besides the one that last changed the extension."""
ITEMS_LOOKED_AT = 2_000
"""A run with more items is searched only when it is the one that last changed the extension."""

FOUND_A_PAGE = 25
"""Users that a search of the tenant shows."""

STATES: Mapping[State, str] = {"linked": "Synced", "released": "Released", "skipped": "Skipped", "failed": "Failed"}
ORDERS: Mapping[Order, str] = {"name": "Name", "number": "Extension", "state": "State", "changed": "Last change"}
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome.__value__)

pages = Pages()


class Happened(msgspec.Struct, frozen=True):
    """Something that a run did, or left undone, about one user."""

    run: Run
    item: RunItem


class Wanted(msgspec.Struct, frozen=True, omit_defaults=True):
    """What of a list is wanted, and in which order; an empty member means any."""

    search: str = ""
    state: State | None = None
    outcome: Outcome | None = None
    order: Order = "name"
    descending: bool = False

    def parameters(self, **changes: object) -> dict[str, str]:
        """This, with some changes, as parameters of an address."""
        changed = msgspec.to_builtins(msgspec.structs.replace(self, **changes))
        return {name: "1" if value is True else value for name, value in changed.items()}

    def sorted_by(self, order: Order) -> dict[str, str]:
        """The parameters that sort by a column; by one that is sorted already, the other way round."""
        return self.parameters(order=order, descending=order == self.order and not self.descending)


class Found(msgspec.Struct, frozen=True):
    """A user of the tenant, and the extension if there is one."""

    user: UserChoice
    number: str


@pages.get("/console/users/list")
async def list_users(visit: Visit) -> Response:
    """Users with an extension, and those who were left out, with the reason."""
    return await _list(visit, "users")


@pages.get("/console/groups/list")
async def list_groups(visit: Visit) -> Response:
    """Groups with an extension group, and those that were left out, with the reason."""
    return await _list(visit, "groups")


async def _list(visit: Visit, kind: Kind) -> Response:
    wanted = Wanted(
        search=visit.query("search").strip(),
        state=_choice(visit, "state", STATES),
        outcome=_choice(visit, "outcome", OUTCOMES),
        order=_choice(visit, "order", ORDERS) or "name",
        descending=bool(visit.query("descending")),
    )
    return visit.render(
        "part_objects.html" if visit.is_partial else "objects.html",
        kind=kind,
        wanted=wanted,
        listed=await _listed(visit, kind, wanted),
        is_first=not visit.query("after"),
        is_part=visit.is_partial,
        states=STATES,
        orders=ORDERS,
        zone=(await visit.settings()).schedule.time_zone,
    )


async def _listed(visit: Visit, kind: Kind, wanted: Wanted) -> Page:
    try:
        return await listed(
            visit.connection,
            kind,
            order=wanted.order,
            descending=wanted.descending,
            search=wanted.search,
            state=wanted.state,
            outcome=wanted.outcome,
            after=visit.query("after") or None,
        )
    except BadToken as error:
        raise _no_page(visit, str(error)) from error


def _choice[T: str](visit: Visit, name: str, choices: Iterable[T]) -> T | None:
    """A parameter that is one of a few words; ``None`` when it is empty."""
    value = visit.query(name)
    found = next((choice for choice in choices if choice == value), None)
    if value and found is None:
        raise _no_page(visit, f"The list cannot be asked for {name} in this way.")
    return found


def _no_page(visit: Visit, words: str) -> Refusal:
    return Refusal(404, "No such page", words, link=("The whole list", visit.request.url.path))


@pages.get("/console/users/find")
async def find(visit: Visit) -> Response:
    """Look for any user of the tenant, synced or not."""
    text = visit.query("search").strip()
    found: list[Found] = []
    trouble: Trouble | None = None
    if text:
        try:
            found = await _found(visit.connection, text)
        except Trouble as error:
            trouble = error
    template = "part_find.html" if visit.is_partial else "find.html"
    return visit.render(template, text=text, found=found, trouble=trouble, is_cut=len(found) == FOUND_A_PAGE)


async def _found(connection: Connection, text: str) -> list[Found]:
    users = await search_users(connection, text, FOUND_A_PAGE)
    links = await connection.links("users").some(user.id for user in users)
    numbers = {link.object_id: link.number for link in links if link.state == "linked"}
    return [Found(user, numbers.get(user.id, "")) for user in users]


@pages.get("/console/users/{object_id}")
async def user(visit: Visit) -> Response:
    """One user: what is linked and written, what happened, and why."""
    object_id = visit.request.path_params["object_id"].lower()
    if not GUID.fullmatch(object_id):
        words = "A user is named by the object id here, which is a GUID."
        raise Refusal(404, "No such user", words, link=("Synced users", "/console/users/list"))
    settings = await visit.settings()
    link = await visit.connection.links("users").get(object_id)
    happened = await history(visit.connection, object_id, link)
    return visit.render(
        "user.html",
        object_id=object_id,
        link=link,
        state=_state(link),
        name=_name(object_id, link, happened),
        forecast=_forecast(link, settings.users.delete_grace_days),
        happened=happened,
        zone=settings.schedule.time_zone,
    )


async def history(connection: Connection, object_id: str, link: Link | None) -> list[Happened]:
    """The last things that runs recorded about a user, newest first, as far back as looking does not take long."""
    runs = {run.id: run async for run in connection.runs.newest(RUNS_LOOKED_AT)
            if not run.preview and run.status in FINISHED and 0 < run.items <= ITEMS_LOOKED_AT}  # fmt: skip
    if link is not None and link.run_id and link.run_id not in runs:
        last = await connection.runs.get(link.run_id)
        runs |= {last.id: last} if last is not None else {}
    found: list[Happened] = []
    for several in batched(sorted(runs.values(), key=lambda run: run.id), RUNS_AT_ONCE, strict=False):
        # Ids of runs count down, so the newest come first.
        for happened in await asyncio.gather(*(_happened(connection, run, object_id) for run in several)):
            found += happened
        if len(found) >= ITEMS_SHOWN:
            break
    return found[:ITEMS_SHOWN]


async def _happened(connection: Connection, run: Run, object_id: str) -> list[Happened]:
    return [Happened(run, item) async for item in connection.runs.items(run.id) if item.object_id == object_id]


def _name(object_id: str, link: Link | None, happened: list[Happened]) -> str:
    names = [link.name] if link is not None else []
    names += [one.item.name for one in happened]
    return next((name for name in names if name), object_id)


def _state(link: Link | None) -> str:
    if link is None or link.state == "intent":
        return "Not synced"
    return "Leaving" if link.leaving_since else STATES[link.state]


def _forecast(link: Link | None, days: int) -> str:
    """What happens to a marked extension, and when."""
    if link is None or not link.leaving_since:
        return ""
    return forecast(Leaving(link.leaving_since, link.leaving_reason), days)
