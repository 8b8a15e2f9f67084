"""The page of everybody who has an extension: what it does with presence in Teams, and what its user wants of that.

It is about who is signed in, known by the object id in the session; nothing that is sent can name anybody else.
"""

from collections.abc import Mapping
from typing import get_args

import msgspec
from starlette.responses import Response

from console.app import Pages
from console.plain import plain
from console.presence_words import CHOICES, TEAMS, status_words, teams_words
from console.sign_in import bound, check_form, form_token, sent_away, with_cookie
from console.visit import MINE, Refusal, Visit
from presence import report
from presence.preferences import Follows, set_preferences
from presence.room import Rules
from sso import sessions, signin
from store.document import Presence, PresenceChoice
from store.presence import Preference, UserPresence

pages = Pages()

COMPANY = "company"
"""The choice that the administrator made for everybody."""
SAME = "same"
"""The choice of the row that a state belongs to."""


class Row(msgspec.Struct, frozen=True):
    """States of Teams that most people treat alike."""

    id: str
    label: str
    states: tuple[str, ...]


ROWS = (
    Row("available", "Available", ("Available", "AvailableIdle")),
    Row("busy", "Busy or focusing", ("Busy", "BusyIdle", "Focusing")),
    Row("call", "In a call or a meeting", ("InACall", "InAConferenceCall", "InAMeeting")),
    Row("quiet", "Do not disturb or presenting", ("DoNotDisturb", "Presenting", "UrgentInterruptionsOnly")),
    Row("away", "Away or be right back", ("Away", "BeRightBack", "Inactive")),
    Row("out", "Out of office", ("OutOfOffice",)),
    Row("offline", "Offline or off work", ("Offline", "OffWork", "PresenceUnknown")),
)
FOLLOWS: Mapping[bool | None, Follows] = {True: "on", False: "off", None: "rule"}


class Standing(msgspec.Struct, frozen=True):
    """Whether an extension follows Teams, in words and colour, and whether its user can decide anything."""

    words: str
    colour: str
    can_decide: bool = True


@pages.get(MINE, role="person", is_entrance=True)
async def show(visit: Visit) -> Response:
    """What there is to see; who is not signed in is offered to."""
    object_id = _object_id(visit)
    return await _page(visit, object_id) if object_id else _welcome(visit)


@pages.post(MINE, role="person", is_entrance=True)
async def posted(visit: Visit) -> Response:
    """What the button asks for; the field ``act`` says which it was."""
    act, object_id = visit.text("act"), _object_id(visit)
    if act == "sign-in" and not object_id:
        return await _to_microsoft(visit)
    if visit.session is None:
        link = ("Sign in", MINE)
        raise Refusal(401, "Signed out", "Your session has ended. Nothing was changed.", link=link)
    if act == "sign-out":
        await sessions.end_session(visit.place, visit.session, visit.now)
        return with_cookie(visit.go(MINE, done="signed-out"), sessions.COOKIE, "")
    if not object_id:
        words = "The setup key belongs to nobody who could have an extension. Nothing was changed."
        raise Refusal(403, "Sign in with Microsoft", words, link=("Sign in", MINE))
    if act not in {"save", "reset"}:
        raise Refusal(422, "No such button", "The form names nothing that this page can do. Nothing was changed.")
    return await (_save(visit, object_id) if act == "save" else _reset(visit, object_id))


def _object_id(visit: Visit) -> str:
    """Whom the page is about; empty while nobody has signed in with Microsoft."""
    account = visit.session.account if visit.session else ""
    return "" if account == sessions.SETUP_KEY else account.partition(":")[2]


def _welcome(visit: Visit) -> Response:
    if visit.session is not None:
        return visit.render("me_sign_in.html", token="")
    token = form_token(visit)
    return bound(visit.render("me_sign_in.html", token=token), token)


async def _to_microsoft(visit: Visit) -> Response:
    """Send the browser to Microsoft. With a session its own token was checked already."""
    if visit.session is None:
        check_form(visit, MINE)
    earlier = visit.session.id if visit.session else ""
    return sent_away(await signin.begin(visit.place, "person", earlier, MINE, visit.now))


async def _save(visit: Visit, object_id: str) -> Response:
    asked = visit.text("follows")
    fields = {name: visit.text(name) for name in _names()}
    faults = faults_of(fields)
    if asked not in get_args(Follows.__value__):
        faults["follows"] = "This has to be one of the choices."
    if faults:
        return await _page(visit, object_id, 422, fields=fields, chosen=asked, faults=faults)
    own_map = msgspec.convert(map_of(fields), dict[str, PresenceChoice])
    return await _decided(visit, object_id, msgspec.convert(asked, Follows), own_map, "saved")


async def _reset(visit: Visit, object_id: str) -> Response:
    return await _decided(visit, object_id, "rule", {}, "presence-mine-reset")


async def _decided(
    visit: Visit, object_id: str, follows: Follows, own_map: Mapping[str, PresenceChoice], done: str
) -> Response:
    """Keep what was decided; nobody can decide while it would be about nothing."""
    room = visit.presence_room
    user = (await room.store.some([object_id])).get(object_id.lower())
    standing = await _standing(visit, user)
    if user is None or not standing.can_decide:
        raise Refusal(409, "Not possible now", f"{standing.words} Nothing was changed.", link=("Back", MINE))
    decided = await set_preferences(room, [object_id], follows=follows, own_map=own_map, by="person")
    visit.queue_updates(decided.updates)
    for after in decided.changed:
        before, now = _told(user.preference), _told(after.preference)
        await visit.audit("presence.preference", subject=after.name or after.number, before=before, after=now)
    return visit.go(MINE, done=done)


async def _page(
    visit: Visit,
    object_id: str,
    status: int = 200,
    *,
    fields: Mapping[str, str] | None = None,
    chosen: str = "",
    faults: Mapping[str, str] | None = None,
) -> Response:
    listed = await report.one(visit.presence_room, object_id)
    line = listed.lines[0] if listed.lines else None
    user, settings = line.user if line else None, await visit.settings()
    preference = user.preference if user else Preference()
    shown = fields_of(preference.map) if fields is None else fields
    return visit.render(
        "me.html",
        status,
        number=user.number if user else await _linked_number(visit, object_id),
        user=user,
        standing=await _standing(visit, user),
        teams=teams_words(user.teams) if user else "",
        extension=_extension_words(line, listed.trouble),
        trouble=plain(listed.trouble),
        note=_note(user),
        rows=ROWS,
        words=TEAMS,
        choices=CHOICES,
        company=_company_words(settings.presence),
        fields=shown,
        is_detailed=any(name.startswith("state.") and value != SAME for name, value in shown.items()),
        chosen=chosen or FOLLOWS[preference.follows],
        is_ruled=user is not None and _is_ruled(user, settings.presence),
        has_own=not preference.is_default,
        faults=faults or {},
        zone=settings.schedule.time_zone,
    )


async def _standing(visit: Visit, user: UserPresence | None) -> Standing:
    settings = await visit.settings()
    rules = Rules(settings, await visit.connection.health.load())
    if not rules.are_on:
        return Standing("Presence is switched off for the whole company.", "warn", can_decide=False)
    if user is None or user.pbx_id is None:
        if await _linked_number(visit, _object_id(visit)):
            words = "Your extension is new here. Look again in ten minutes."
        else:
            words = "You have no extension that is set up from Microsoft 365, so nothing can follow Teams."
        return Standing(words, "warn", can_decide=False)
    if user.is_followed:
        return Standing("Your extension follows Teams.", "good")
    return Standing(f"Your extension does not follow Teams: {_why_not(user, settings.presence)}", "info")


def _why_not(user: UserPresence, presence: Presence) -> str:
    if user.preference.follows is False:
        who = "an administrator" if user.preference.set_by == "administrator" else "you"
        return f"{who} switched it off."
    if presence.users == "opt_in":
        return "in your company that is up to each of you, and you did not switch it on."
    if presence.users == "groups" and not user.in_scope:
        return "in your company that is for members of certain groups, and you are in none of them."
    return "it begins to within ten minutes."


def _is_ruled(user: UserPresence, presence: Presence) -> bool:
    """Whether the extension follows where its user leaves that to the company."""
    return presence.users == "all" or (presence.users == "groups" and user.in_scope)


def _note(user: UserPresence | None) -> str:
    """What keeps the extension from showing what Teams does; empty when nothing does."""
    if user is None or not user.is_followed:
        return ""
    if user.is_pending:
        return "A change in Teams is on its way to the extension."
    match user.outcome:
        case "manual":
            return "Its status was chosen on the phone or in Linkus. It stays until Teams asks for another one."
        case "custom":
            return "It shows a custom status, which is never replaced. Choose another one on the phone to end that."
        case "failed" | "gone":
            return "The last change in Teams could not be written to it. It is tried again by itself."
        case _:
            return ""


def _extension_words(line: report.Line | None, trouble: str) -> str:
    shown = line.shown if line else None
    if shown is not None:
        return shown.custom_presence_status or status_words(shown.status)
    return "It cannot be asked for now." if trouble else "Not known"


async def _linked_number(visit: Visit, object_id: str) -> str:
    link = await visit.connection.links("users").get(object_id)
    return link.number if link is not None and link.state == "linked" else ""


def _company_words(presence: Presence) -> dict[str, str]:
    """What the administrator chose, for each row and each state."""
    default: dict[str, PresenceChoice] = msgspec.to_builtins(presence.default_map)
    by_state = {state: CHOICES[choice] for state, choice in default.items()}
    by_row = {row.id: ", ".join(dict.fromkeys(by_state[state] for state in row.states)) for row in ROWS}
    return {**by_state, **by_row}


def _names() -> list[str]:
    """The fields of the map."""
    return [name for row in ROWS for name in (f"row.{row.id}", *_fields_of_states(row))]


def _fields_of_states(row: Row) -> list[str]:
    """Where a row has several states, each can be chosen for itself."""
    return [f"state.{state}" for state in row.states] if len(row.states) > 1 else []


def fields_of(own: Mapping[str, str]) -> dict[str, str]:
    """What the form shows for a user's own map: of each row what most of its states have. Pure."""
    fields: dict[str, str] = {}
    for row in ROWS:
        choices = [own.get(state, COMPANY) for state in row.states]
        usual = max(choices, key=choices.count)
        fields[f"row.{row.id}"] = usual
        for name, choice in zip(_fields_of_states(row), choices, strict=False):
            fields[name] = SAME if choice == usual else choice
    return fields


def map_of(fields: Mapping[str, str]) -> dict[str, str]:
    """The own map that a form without faults stands for. Pure."""
    own = {}
    for row in ROWS:
        for state in row.states:
            chosen = fields.get(f"state.{state}", SAME)
            own[state] = fields[f"row.{row.id}"] if chosen == SAME else chosen
    return {state: choice for state, choice in own.items() if choice != COMPANY}


def faults_of(fields: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with the fields of a form. Pure."""
    choices = {*CHOICES, COMPANY}
    return {
        name: "This has to be one of the choices."
        for name, value in fields.items()
        if value not in (choices | {SAME} if name.startswith("state.") else choices)
    }


def _told(preference: Preference) -> str:
    """What is decided, for the audit trail."""
    return msgspec.json.encode({"follows": FOLLOWS[preference.follows], "map": preference.map}).decode()
