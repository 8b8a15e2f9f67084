"""Presence of each user: what Teams and the extension show, what came of it, and decisions about single users."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, get_args
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from console.app import Pages
from console.presence_words import (
    CHOICES,
    GROUPS,
    WARNINGS,
    Result,
    duration,
    follows_words,
    graph_words,
    result,
    status_words,
    teams_words,
)
from console.visit import Refusal, Visit
from presence import report
from presence.preferences import Follows, set_preferences
from presence.report import Line, Only
from store.document import Presence, PresenceChoice
from store.errors import StoreError
from store.presence import PresenceStore, UserPresence
from store.validation import GUID

PATH = "/console/presence/users"
A_PAGE = 25
NAMED = 20
"""Users who are named before and after a decision about many."""
ALL = 1_000_000
PAGE = re.compile("[0-9]{1,6}")
ONLY: Mapping[Only, str] = {
    "": "Everybody",
    "followed": "Follow Teams",
    "off": "Do not follow Teams",
    "own": "Decided about one by one",
    "announced": "Announced by Microsoft",
    "polled": "Asked about",
    "manual": "Left alone: chosen on the phone",
    "custom": "Left alone: custom presence",
    "failed": "Failed",
    "pending": "Being written",
}
SOURCES = {"subscription": "Announced", "poll": "Asked about", "": "Not"}

type Act = Literal["on", "off", "rule", "map", "default"]
ACTS: tuple[Act, ...] = get_args(Act.__value__)

pages = Pages()


class Wanted(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which users are wanted, and whether the page keeps up by itself."""

    search: str = ""
    only: Only = ""
    page: int = 1
    live: Literal["", "off"] = ""

    def parameters(self, **changes: object) -> dict[str, object]:
        """This, with some changes, as parameters of an address."""
        return dict(msgspec.to_builtins(msgspec.structs.replace(self, **changes)))


class Row(msgspec.Struct, frozen=True):
    """One user in words."""

    user: UserPresence
    teams: str
    graph: str
    extension: str
    is_last_seen: bool
    """The PBX was not asked: that is what the extension showed when it was last looked at."""
    source: str
    follows: str
    result: Result
    delay: str


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be decided about users."""

    title: str
    button: str
    done: str
    effects: Sequence[str]
    follows: Follows | None = None
    has_map: bool = False
    """A map of their own comes with it."""


DEEDS: Mapping[Act, Deed] = {
    "on": Deed(
        title="Follow Teams",
        button="Follow Teams",
        done="presence-followed",
        effects=("Their extensions follow Teams, whatever the rules say.", "They may switch it off for themselves."),
        follows="on",
    ),
    "off": Deed(
        title="Do not follow Teams",
        button="Do not follow",
        done="presence-unfollowed",
        effects=(
            "Their extensions do not follow Teams any more, and keep what they show now.",
            "They may ask for it again themselves, where the rules are about them.",
        ),
        follows="off",
    ),
    "rule": Deed(
        title="As the rules say",
        button="As the rules say",
        done="presence-ruled",
        effects=("What was decided about them is forgotten: the rules decide.", "Maps of their own stay."),
        follows="rule",
    ),
    "map": Deed(
        title="Set a map of their own",
        button="Set this map",
        done="presence-mapped",
        effects=("This map takes the place of any that they have now.",),
        has_map=True,
    ),
    "default": Deed(
        title="Back to the default map",
        button="Back to the default map",
        done="presence-unmapped",
        effects=("Maps of their own are forgotten.",),
    ),
}


@pages.get(PATH)
async def list_presence(visit: Visit) -> Response:
    """A page of the users; with htmx only the table."""
    wanted = _wanted(visit)
    try:
        listed = await report.table(
            visit.presence_room, search=wanted.search, only=wanted.only, top=A_PAGE, skip=A_PAGE * (wanted.page - 1)
        )
        zone = (await visit.settings()).schedule.time_zone
    except StoreError as error:
        listed, zone = report.Listed([], 0, ""), "UTC"
        trouble = f"The list cannot be read now: {error}. It is tried again."
    else:
        trouble = ""
    return visit.render(
        "part_presence_users.html" if visit.is_partial else "presence_list.html",
        wanted=wanted,
        rows=[row_of(line, listed.trouble) for line in listed.lines],
        total=listed.total,
        first=A_PAGE * (wanted.page - 1) + 1,
        has_more=listed.total > A_PAGE * wanted.page,
        pbx_trouble=listed.trouble,
        trouble=trouble,
        only=ONLY,
        zone=zone,
        is_part=visit.is_partial,
        is_said=bool(visit.query("said")),
    )


@pages.post(PATH)
async def decide(visit: Visit) -> Response:
    """A decision about several users: asked for, it is shown with whom it is about; confirmed, it is carried out."""
    act = _act(visit)
    if visit.is_set("confirmed"):
        return await _carried_out(visit, act, [one for one in visit.text("users").split() if GUID.fullmatch(one)])
    users = await _meant(visit)
    if not users:
        words = "Nobody is ticked, or nobody fits the search any more. Nothing was changed."
        link = ("Back to the list", _address(visit))
        raise Refusal(422, "Nobody chosen", words, action="Tick users first.", link=link)
    return await _asked(visit, act, users)


@pages.get(f"{PATH}/{{object_id}}")
async def one_presence(visit: Visit) -> Response:
    """One user."""
    return await _one(visit)


@pages.post(f"{PATH}/{{object_id}}")
async def decide_about_one(visit: Visit) -> Response:
    """Whether one extension follows, and by which map."""
    user = (await _found(visit))[0].user
    own_map, faults = map_of(visit)
    asked = visit.text("follows")
    if asked not in get_args(Follows.__value__):
        faults["/follows"] = "This has to be one of the choices."
    if faults:
        return await _one(visit, 422, faults, own_map)
    follows: Follows = msgspec.convert(asked, Follows)
    choices = msgspec.convert(own_map, dict[str, PresenceChoice])
    decided = await set_preferences(
        visit.presence_room, [user.object_id], follows=follows, own_map=choices, by="administrator"
    )
    visit.queue_updates(decided.updates)
    for after in decided.changed:
        await visit.audit("presence.preference", subject=_name(after), before=_told(user), after=_told(after))
    return visit.go(visit.request.url.path, done="saved")


def row_of(line: Line, trouble: str) -> Row:
    """A user in words. ``trouble``: why the PBX was not asked."""
    user, shown = line.user, line.shown
    if shown is not None:
        extension = shown.custom_presence_status or status_words(shown.status)
    elif trouble:
        extension = status_words(user.seen)
    else:
        extension = "Not on the PBX"
    return Row(
        user=user,
        teams=teams_words(user.teams),
        graph=graph_words(user.teams),
        extension=extension,
        is_last_seen=bool(shown is None and trouble and extension),
        source=SOURCES[line.source],
        follows=follows_words(user),
        result=result(user),
        delay=duration(user.delay_ms) if user.written_at else "",
    )


def map_of(visit: Visit) -> tuple[dict[str, str], dict[str, str]]:
    """The map that was chosen in a form, without what is left to the default one; and what is wrong, by field."""
    own = {state: value for group in GROUPS for state in group.states if (value := visit.text(f"/map/{state}"))}
    faults = {f"/map/{state}": "This has to be one of the choices." for state, value in own.items()
              if value not in CHOICES}  # fmt: skip
    return own, faults


async def _one(
    visit: Visit, status: int = 200, faults: Mapping[str, str] | None = None, typed: Mapping[str, str] | None = None
) -> Response:
    """The page of one user, or the part of it that changes by itself."""
    line, trouble = await _found(visit)
    settings = await visit.settings()
    template = "part_presence_user.html" if visit.is_partial else "presence_user.html"
    preference = line.user.preference
    return visit.render(
        template,
        status,
        row=row_of(line, trouble),
        name=_name(line.user),
        pbx_trouble=trouble,
        zone=settings.schedule.time_zone,
        is_on=settings.presence.enabled,
        rule="follow" if line.user.in_scope else "not",
        chosen=visit.text("follows") or {None: "rule", True: "on", False: "off"}[preference.follows],
        map=preference.map if typed is None else typed,
        faults=faults or {},
        **_map_words(settings.presence),
    )


def _map_words(presence: Presence) -> dict[str, object]:
    """What a form of a user's own map needs."""
    default = msgspec.to_builtins(presence.default_map)
    return {"groups": GROUPS, "choices": CHOICES, "warnings": WARNINGS, "default": default}


async def _found(visit: Visit) -> tuple[Line, str]:
    object_id = visit.request.path_params["object_id"].lower()
    listed = await report.one(visit.presence_room, object_id) if GUID.fullmatch(object_id) else None
    if listed is None or not listed.lines:
        words = "Nothing is known of the presence of such a user: only those with a synced extension are listed."
        raise Refusal(404, "No such user", words, link=("Presence of each user", PATH))
    return listed.lines[0], listed.trouble


async def _meant(visit: Visit) -> Sequence[UserPresence]:
    """Whom a form is about: all that fit its search, or those who are ticked."""
    if visit.is_set("all"):
        search, only = visit.text("search"), _only(visit.text("only"))
        listed = await report.table(visit.presence_room, search=search, only=only, top=ALL, is_live=False)
        return [line.user for line in listed.lines]
    ticked = [object_id for object_id in visit.texts("user") if GUID.fullmatch(object_id)]
    found = await PresenceStore(visit.connection.tables, visit.connection.id).some(ticked)
    return sorted((one for one in found.values() if one.pbx_id is not None), key=lambda one: _name(one).casefold())


async def _asked(
    visit: Visit, act: Act, users: Sequence[UserPresence], faults: Mapping[str, str] | None = None, status: int = 200
) -> Response:
    """The page that says what will happen, and to whom."""
    presence = (await visit.settings()).presence
    return visit.render(
        "presence_decision.html",
        status,
        act=act,
        deed=DEEDS[act],
        number=len(users),
        names=[_name(user) for user in users[:NAMED]],
        users=" ".join(user.object_id for user in users),
        back=_address(visit),
        search=visit.text("search"),
        only=visit.text("only"),
        map=map_of(visit)[0],
        faults=faults or {},
        is_on=presence.enabled,
        **_map_words(presence),
    )


async def _carried_out(visit: Visit, act: Act, object_ids: Sequence[str]) -> Response:
    own_map, faults = map_of(visit)
    if DEEDS[act].has_map and not own_map:
        faults["/map"] = "Choose something else than the default map for one state at least."
    if faults:
        known = await PresenceStore(visit.connection.tables, visit.connection.id).some(object_ids)
        return await _asked(visit, act, [known[key] for key in object_ids if key in known], faults, 422)
    choices: Mapping[str, PresenceChoice] | None = None
    if act in {"map", "default"}:
        choices = msgspec.convert(own_map if act == "map" else {}, dict[str, PresenceChoice])
    decided = await set_preferences(
        visit.presence_room, object_ids, follows=DEEDS[act].follows, own_map=choices, by="administrator"
    )
    visit.queue_updates(decided.updates)
    if decided.changed:
        await visit.audit(
            "presence.preference", subject=_number(len(decided.changed)), after=_recorded(act, decided.changed, own_map)
        )
    return visit.go(PATH, **_back(visit), done=DEEDS[act].done)


def _recorded(act: Act, users: Sequence[UserPresence], own_map: Mapping[str, str]) -> str:
    """What was decided about several users, for the audit trail."""
    names = ", ".join(_name(user) for user in users[:NAMED])
    more = f" and {len(users) - NAMED:,} more" if len(users) > NAMED else ""
    chosen = f" ({', '.join(f'{state}: {choice}' for state, choice in own_map.items())})" if act == "map" else ""
    return f"{DEEDS[act].title}{chosen}: {names}{more}"


def _told(user: UserPresence) -> str:
    """What is decided about a user, for the audit trail."""
    preference = user.preference
    told = {"follows": {None: "by the rules", True: "on", False: "off"}[preference.follows], "map": preference.map}
    return msgspec.json.encode(told).decode()


def _name(user: UserPresence) -> str:
    return user.name or user.user_principal_name or user.number or user.object_id


def _number(users: int) -> str:
    return f"{users:,} {'user' if users == 1 else 'users'}"


def _back(visit: Visit) -> dict[str, str]:
    """The list that the form came from, as parameters."""
    return {name: text for name in ("search", "only") if (text := visit.text(name))}


def _address(visit: Visit) -> str:
    return f"{PATH}?{urlencode(_back(visit))}"


def _act(visit: Visit) -> Act:
    act = visit.text("act")
    if act not in ACTS:
        raise Refusal(422, "Nothing to do", "The form names nothing that can be done. Nothing was changed.")
    known: Act = msgspec.convert(act, Act)
    return known


def _wanted(visit: Visit) -> Wanted:
    page = visit.query("page")
    return Wanted(
        search=visit.query("search").strip(),
        only=_only(visit.query("only")),
        page=max(int(page), 1) if PAGE.fullmatch(page) else 1,
        live="off" if visit.query("live") == "off" else "",
    )


def _only(text: str) -> Only:
    if text not in ONLY:
        words = "The address asks for users that no list gives."
        raise Refusal(404, "No such page", words, link=("Presence of each user", PATH))
    known: Only = msgspec.convert(text, Only)
    return known
