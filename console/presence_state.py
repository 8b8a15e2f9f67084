"""How presence does now, in plain words, and what to do where something is wrong."""

import asyncio
from collections.abc import Mapping
from typing import Literal

import msgspec

from console.plain import plain
from console.presence_words import duration
from console.visit import Visit
from presence import report
from sso.account import Account, further_accounts, read_account
from store.document import Settings
from store.environment import Environment
from store.errors import StoreError
from store.health import Health
from store.presence import Announcer, Figures
from store.sessions import AUTHORIZATION
from sync.subscriptions import unreachable

SCOPE = "Presence.Read.All"
MOST = 650
"""Users that one account can have announced (Graph takes no more in a subscription)."""
CONNECT = "/connect"
STATES = {"live": "Announced", "renew": "To be renewed", "asked": "Being set up", "gone": "Not announced"}

type Link = tuple[str, str]
"""Label and address."""
type Colour = Literal["good", "warn", "bad", "info", "calm"]

COLOURS: Mapping[str, Colour] = {"live": "good", "renew": "warn", "asked": "info", "gone": "warn"}


class Note(msgspec.Struct, frozen=True):
    """Something to know or to do."""

    colour: Colour
    words: str
    link: Link | None = None


class Summary(msgspec.Struct, frozen=True):
    """All of it in a word and a sentence."""

    colour: Colour
    word: str
    sentence: str


class Source(msgspec.Struct, frozen=True):
    """An account in whose name Graph announces presence."""

    name: str
    state: str
    colour: Colour
    users: int
    expires_at: str
    detail: str
    """How the presence comes; why it does not."""


class State(msgspec.Struct, frozen=True):
    """What the page tells about now."""

    summary: Summary
    notes: list[Note]
    figures: Figures | None = None
    """``None`` when they cannot be read."""
    sources: list[Source] = []
    p50: str = ""
    p95: str = ""


class Around(msgspec.Struct, frozen=True):
    """What decides beside the figures whether presence can work."""

    settings: Settings
    health: Health
    environment: Environment
    account: Account | None


async def state_of(visit: Visit) -> State:
    """How presence does; never raises because storage does not answer."""
    try:
        settings, health, account, further, figures = await asyncio.gather(
            visit.settings(),
            visit.connection.health.load(),
            read_account(visit.place),
            further_accounts(visit.place),
            report.figures(visit.presence_room),
        )
    except StoreError as error:
        words = f"How presence does cannot be read now: {error}. What is switched on goes on."
        return State(Summary("bad", "Not known", words), [])
    around = Around(settings, health, visit.connection.environment, account)
    names = {one.object_id: one.user_principal_name or one.name for one in further}
    if account is not None:
        names[AUTHORIZATION] = account.user_principal_name or account.name
    return State(
        summary_of(figures, around),
        notes_of(figures, around),
        figures,
        [_source(one, names) for one in figures.accounts],
        duration(figures.delay_ms.p50),
        duration(figures.delay_ms.p95),
    )


def summary_of(figures: Figures, around: Around) -> Summary:
    """The state in a word, a colour and a sentence."""
    if not around.settings.presence.enabled:
        return Summary("calm", "Off", "No extension follows Teams.")
    if around.settings.missing():
        return Summary("warn", "Waits", "Presence is on, and begins when the tenant and the PBX are connected.")
    if around.health.disabled:
        return Summary("calm", "Disabled", "Presence is on, but the whole integration is disabled.")
    if figures.last_error:
        return Summary("bad", "Not working", "Microsoft cannot be asked what people show in Teams.")
    if not figures.users:
        return Summary("info", "Nobody yet", "Presence is on, and nobody with a synced extension follows Teams.")
    every = f"every {around.settings.presence.poll_seconds} seconds"
    if not figures.covered:
        return Summary("warn", "Working, slower", f"Microsoft is asked about {_users(figures.users)} {every}.")
    if not figures.polled:
        return Summary("good", "Working", f"Changes of {_users(figures.users)} arrive within seconds.")
    rest = f"Changes of {figures.covered:,} of {_users(figures.users)} arrive within seconds"
    return Summary("good", "Working", f"{rest}; about the other {figures.polled:,} Microsoft is asked {every}.")


def notes_of(figures: Figures, around: Around) -> list[Note]:
    """What is wrong or could be better, most important first."""
    if not around.settings.presence.enabled:
        return []
    if missing := around.settings.missing():
        return [Note("warn", plain(f"The bridge is not connected yet. Missing: {', '.join(missing)}."), _connect())]
    if around.health.disabled:
        words = "Nothing is read and nothing is written while the integration is disabled."
        return [Note("info", words, ("Enable it", "/console/connection"))]
    found = [_failing(figures), _nobody(figures), *_hearing(figures, around)]
    return [note for note in found if note is not None]


def _failing(figures: Figures) -> Note | None:
    if not figures.last_error:
        return None
    words = f"{_sentence(figures.last_error)} Extensions keep what they show; it is tried again all the time."
    return Note("bad", words, _connect("Look at the connection"))


def _nobody(figures: Figures) -> Note | None:
    if figures.users:
        return None
    words = "Only people with a synced extension can follow Teams, and only those whom these rules are about."
    return Note("info", words, ("Synced users", "/console/users/list"))


def _hearing(figures: Figures, around: Around) -> list[Note | None]:
    """What keeps Graph from announcing changes. Asking works without."""
    slower = "Presence works all the same, by asking, which is slower."
    if silent := unreachable(around.environment):
        return [Note("warn", f"{silent} {slower}", _connect("How the bridge is reached"))]
    account = around.account
    if account is None:
        words = "Microsoft announces presence to an account only, and nobody has signed in for the bridge yet."
        return [Note("warn", f"{words} {slower}", _connect("Sign in with Microsoft"))]
    if account.state == "needs_sign_in":
        words = f"{account.user_principal_name or account.name} has to sign in again. {account.reason}".strip()
        return [Note("warn", f"{words} {slower}", _connect("Sign in again"))]
    if SCOPE not in account.scopes:
        words = f"The delegated permission {SCOPE} is not granted to {account.user_principal_name or account.name}."
        return [Note("warn", f"{words} {slower}", _connect("Grant the permissions"))]
    return [_crowded(figures), _losing(figures)]


def _crowded(figures: Figures) -> Note | None:
    room = MOST * max(1, len(figures.accounts))
    if figures.users <= room:
        return None
    words = f"Each account hears of at most {MOST} users, those who change most. A further account widens that."
    return Note("info", words, _connect("Connect a further account"))


def _losing(figures: Figures) -> Note | None:
    if not figures.lost:
        return None
    words = f"{_users(figures.lost)} changed without Microsoft announcing it; that was found by asking, later."
    return Note("warn", words)


def _source(one: Announcer, names: Mapping[str, str]) -> Source:
    how = "The presence comes along." if one.rich else "The presence is read after each announcement."
    return Source(
        names.get(one.account, "") or ("The authorization account" if one.account == AUTHORIZATION else one.account),
        STATES[one.state],
        COLOURS[one.state],
        one.users,
        one.expires_at,
        _sentence(one.last_error) or (how if one.state in {"live", "renew"} else ""),
    )


def _connect(label: str = "Complete the connection") -> Link:
    return (label, CONNECT)


def _users(number: int) -> str:
    return f"{number:,} {'user' if number == 1 else 'users'}"


def _sentence(text: str) -> str:
    """Words of the engine as a sentence of a page."""
    text = plain(text.strip())
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
