"""The first page: how the connection is, what it did, what it needs, and what it will do next."""

import asyncio
import datetime
from typing import Literal

import msgspec
from starlette.responses import Response

from console.app import Pages
from console.chart import drawn
from console.mending import Mend, mend
from console.presence_state import State, state_of
from console.runs import about, progress, readiness
from console.visit import Refusal, Visit
from sso.account import Account, read_account
from store.document import Settings
from store.health import Health
from store.runs import FINISHED, Run
from sync.connection import Connection
from sync.history import changes_by_day
from sync.running import active_kinds
from sync.status import Status, read_status
from sync.subscriptions import View, unreachable

EXPIRES_SOON = 30
"""Days; then the end of the credential is coloured, before it becomes a reason for attention."""
STATE_COLOURS = {
    "not_connected": "warn",
    "connected": "good",
    "paused": "info",
    "disabled": "calm",
    "needs_attention": "bad",
}
RECENT = 10
"""Among so many of the newest runs is the one that is under way."""

pages = Pages()

type Colour = Literal["good", "warn", "bad", "info", "calm"]


class Fact(msgspec.Struct, frozen=True):
    """One thing about the connection: in a word, in a colour, in a sentence, and the page about it."""

    colour: Colour
    word: str
    sentence: str
    link: tuple[str, str] | None = None


@pages.get("/console")
async def overview(visit: Visit) -> Response:
    """Everything at a glance; nothing but storage is asked."""
    connection, now = visit.connection, visit.now
    settings, health = await asyncio.gather(visit.settings(), connection.health.load())
    zone = settings.schedule.time_zone
    status, run, account, ready, days, presence = await asyncio.gather(
        read_status(connection, now),
        under_way(connection),
        read_account(visit.place),
        readiness(connection, settings),
        changes_by_day(connection, now, time_zone=zone),
        state_of(visit),
    )
    return visit.render(
        "overview.html",
        current=status,
        colour=STATE_COLOURS[status.state],
        mends=unique([mend(reason, health) for reason in status.reasons]),
        run=run,
        progress=progress(run) if run else None,
        about=about(run) if run else "",
        ready=ready,
        zone=zone,
        chart=drawn(days),
        held=sum(state == "open" for state in [*health.held.values(), *health.held_groups.values()]),
        notifications=notifications(status.subscriptions, connection, settings, health, now),
        account=account_fact(account),
        credential=credential(status, settings),
        presence=presence_fact(presence),
    )


@pages.get("/console/live")
async def live(visit: Visit) -> Response:
    """How far the run on the overview is. When it is finished, the overview is loaded anew, with what it changed."""
    run_id = visit.query("run")
    run = await visit.connection.runs.get(run_id) if run_id else None
    if run is None:
        raise Refusal(404, "No such run", "There is no such run.", link=("Overview", "/console"))
    if run.status in FINISHED or not visit.is_partial:
        return visit.go("/console")
    return visit.render("part_live.html", run=run, progress=progress(run), about=about(run), said=visit.query("said"))


async def under_way(connection: Connection) -> Run | None:
    """The run that works or waits, previews left out; the one that works before those that wait for it."""
    recent = [run async for run in connection.runs.newest(RECENT)]
    unfinished = [run for run in recent if run.status not in FINISHED and not run.preview]
    return min(unfinished, key=lambda run: (run.status != "running", run.requested_at), default=None)


def unique(mends: list[Mend]) -> list[Mend]:
    """The same without reasons that say the same: a secret may be missing for two causes."""
    return list({(one.message, one.action): one for one in mends}.values())


def notifications(
    views: list[View], connection: Connection, settings: Settings, health: Health, now: datetime.datetime
) -> Fact:
    """Whether Graph tells of changes at once."""
    kinds = active_kinds(settings, health)
    poll = f"Changes are looked for every {settings.schedule.poll_minutes} minutes all the same."
    if not kinds:
        return Fact("calm", "Not needed", "Nothing is synchronized now, so Microsoft is not asked to report changes.")
    if silent := unreachable(connection.environment):
        return Fact("warn", "Not possible", f"{silent} {poll}")
    by_resource = {view.resource: view for view in views}
    dead = [kind for kind in kinds if not _is_heard(by_resource.get(kind), now)]
    if not dead:
        return Fact("good", "Working", f"Microsoft reports changes of {' and '.join(kinds)} within seconds.")
    errors = [view.last_error for kind in dead if (view := by_resource.get(kind)) and view.last_error]
    if not errors:
        return Fact(
            "info", "Being set up", f"Microsoft is being asked to report changes of {' and '.join(dead)}. {poll}"
        )
    return Fact("warn", "Not working", f"Microsoft does not report changes of {' and '.join(dead)}: {errors[0]} {poll}")


def _is_heard(view: View | None, now: datetime.datetime) -> bool:
    if view is None or view.state not in {"live", "renew"} or not view.expires_at:
        return False
    return datetime.datetime.fromisoformat(view.expires_at) > now


def account_fact(account: Account | None) -> Fact:
    """Who signed in for the bridge."""
    if account is None:
        words = "Nobody has signed in with Microsoft for the bridge yet. Synchronization works without."
        return Fact("calm", "None", words, ("Sign in with Microsoft", "/connect"))
    name = account.user_principal_name or account.name
    if account.state == "needs_sign_in":
        words = f"{name} has to sign in again. {account.reason}".strip()
        return Fact("bad", "Has to sign in again", words, ("Sign in again", "/connect"))
    return Fact("good", "Signed in", f"{name}, since {account.signed_in_at[:10]}.")


def presence_fact(state: State) -> Fact:
    """Whether extensions follow Teams; what stands in the way, if something does."""
    summary = state.summary
    worst = next((note.words for note in state.notes if note.colour in {"bad", "warn"}), "")
    return Fact(summary.colour, summary.word, f"{summary.sentence} {worst}".strip(), ("Presence", "/console/presence"))


def credential(status: Status, settings: Settings) -> Fact:
    """How long the application can still sign in."""
    link = ("Replace the credential", "/console/connection")
    if settings.microsoft.credential == "federated":
        return Fact("good", "Managed identity", "The application has no secret, so nothing runs out.")
    expiry = status.secret_expiry
    if expiry is None:
        words = "Not known yet, or the application may not read its own registration (Application.Read.All)."
        return Fact("calm", "Not known", words)
    day = expiry.at[:10]
    if expiry.days_left < 0:
        return Fact("bad", "Expired", f"It expired on {day}.", link)
    words = f"It expires on {day}, in {expiry.days_left} {'day' if expiry.days_left == 1 else 'days'}."
    return (
        Fact("warn", "Expires soon", words, link) if expiry.days_left <= EXPIRES_SOON else Fact("good", "Valid", words)
    )
