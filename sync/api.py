"""The JSON API: requests in, replies out, without anything of the Functions host.

Errors are problem details (RFC 9457). Whoever calls has shown a function key to the host before.
"""

import asyncio
import datetime
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal, get_args
from urllib.parse import quote

import msgspec

import graph.errors
from store.document import Settings
from store.errors import AccessDenied, Changed, Misconfigured, StoreError
from store.health import FURTHER_SIGN_IN_NEEDED, SIGN_IN_NEEDED
from store.links import Kind, Link
from store.presence import Figures
from store.runs import FINISHED, Outcome, Run
from store.secrets import MAX_BYTES, SECRET_NAMES, certificate_fault
from store.sessions import SessionStore, forget_accounts
from store.validation import GUID, InvalidSettings, Problem, parse_settings
from sync import lifecycle
from sync.connection import Connection
from sync.history import items_page
from sync.lifecycle import Started
from sync.messages import Message
from sync.openapi import document
from sync.running import active_kinds
from sync.service import (
    Conflict,
    decide,
    missing_secrets,
    other_sections,
    replace_secret,
    request_run,
    save_if_matching,
)
from sync.status import NO_PRESENCE, State, read_status

log = logging.getLogger("sync")

MAX_TOP = 1000
MAX_BODY = 1_000_000
PATIENCE_SECONDS = 20.0
"""No request waits longer for storage; the load balancer before a function app gives up after 230 s."""
KINDS: tuple[Kind, ...] = ("users", "groups")
"""What can be synced."""
JSON = "application/json"
PROBLEM = "application/problem+json"
SETTINGS_SCHEMA = {"$ref": "#/components/schemas/Settings"}
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome.__value__)


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as far as the API looks at it."""

    params: Mapping[str, str] = {}
    """Query parameters."""
    headers: Mapping[str, str] = {}
    """By lower-case name."""
    body: bytes = b""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A response, and the messages to queue with it."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}
    messages: tuple[Message, ...] = ()


class SyncRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/sync``."""

    what: list[Literal["users", "groups", "contacts"]] | None = None
    """What to sync; left out, everything that is switched on."""
    mode: Literal["full", "incremental"] = "full"
    preview: bool = False
    object_id: str | None = None
    """Only this user, or this group."""
    settings: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=SETTINGS_SCHEMA)] = msgspec.field(
        default_factory=msgspec.Raw
    )
    """With ``preview`` only: a whole settings document to preview in place of the saved one."""


class PauseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/pause``."""

    what: Literal["users", "groups"]
    delete: bool = False
    """Delete what was synced."""
    preview: bool = False
    """Only list what would be deleted."""


class ResumeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/resume``."""

    what: Literal["users", "groups"]


class EndRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/disable`` and ``POST /api/disconnect``; it may be left out."""

    delete_extensions: bool = False
    """Delete the extensions of synced users."""
    delete_groups: bool = False
    """Delete the extension groups of synced groups."""
    preview: bool = False
    """Only list what would be deleted."""

    def what(self) -> list[Kind]:
        wanted: dict[Kind, bool] = {"users": self.delete_extensions, "groups": self.delete_groups}
        return [kind for kind in KINDS if wanted[kind]]


class LifeState(msgspec.Struct, frozen=True):
    """What a change of state that deletes nothing answers."""

    state: State
    paused: list[Kind]
    disabled: bool


class SecretValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``PUT /api/secrets/{name}``."""

    value: str

    def __repr__(self) -> str:
        return "SecretValue()"


class Listing[T](msgspec.Struct, frozen=True):
    """One page of a list and the address of the next one."""

    value: list[T]
    next: str | None = None


class LinkView(msgspec.Struct, frozen=True, kw_only=True):
    """A link as the API shows it."""

    object_id: str
    kind: str
    state: str
    name: str
    user_principal_name: str
    email: str
    extension: str
    pbx_id: int | None
    associated: bool
    changed_at: str
    run_id: str


class ApiError(Exception):
    """A request that is answered with problem details."""

    def __init__(self, status: int, title: str, detail: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.problems = problems


async def answered(work: Callable[[], Awaitable[Reply]]) -> Reply:
    """Run a handler; every failure becomes problem details in plain words, never a traceback."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await work()
    except TimeoutError:
        return problem(503, "Storage is not available", "Storage or the Key Vault does not answer. Try again later.")
    except ApiError as error:
        return problem(error.status, error.title, str(error), error.problems)
    except InvalidSettings as error:
        words = "The settings were refused; nothing was saved."
        return problem(422, "Unprocessable settings", words, error.problems)
    except Conflict as error:
        return problem(409, "Not in this state", str(error))
    except Misconfigured as error:
        words = str(error)
        return problem(503, "The deployment is misconfigured", f"{words[:1].upper()}{words[1:]}.")
    except AccessDenied as error:
        return problem(503, "The bridge lacks a role", f"{error}")
    except StoreError as error:
        log.warning("A request failed: %s", error)
        return problem(503, "Storage is not available", f"{error}. Try again in a moment.")
    except Exception:
        log.exception("A request failed because of a fault of the bridge itself")
        return problem(500, "Internal error", "A fault of the bridge itself; its log has the details.")


async def get_status(
    connection: Connection, now: datetime.datetime, presence: Callable[[], Awaitable[Figures]] | None = None
) -> Reply:
    """``presence`` answers the figures of the room that knows them."""
    return _json(await read_status(connection, now, NO_PRESENCE if presence is None else await presence()))


async def get_settings(connection: Connection) -> Reply:
    stored = await connection.settings.load()
    return _json(stored.settings, headers={"ETag": stored.http_etag})


async def put_settings(connection: Connection, ask: Ask, now: datetime.datetime) -> Reply:
    _check_json(ask)
    settings = parse_settings(ask.body)
    accepted = [tag.strip() for tag in ask.headers.get("if-match", "").split(",") if tag.strip()]
    former = (await connection.settings.load()).settings.microsoft.tenant_id
    try:
        stored, messages = await save_if_matching(connection, settings, accepted, now)
    except Changed as error:
        detail = "Somebody saved the settings since you read them. Read them again and repeat your change."
        raise ApiError(412, "The settings changed meanwhile", detail) from error
    if former and former.lower() != settings.microsoft.tenant_id.lower():
        await _forget_people(connection)
    return _json(stored.settings, headers={"ETag": stored.http_etag}, messages=messages)


async def _forget_people(connection: Connection) -> None:
    """The connection is to another tenant: whom the former one let in is out, and its accounts are gone."""
    sessions = SessionStore(connection.tables, connection.id)
    await forget_accounts(sessions, connection.secrets)
    await sessions.end_all(lambda session: session.basis == "setup-key")
    await connection.health.drop_reasons(SIGN_IN_NEEDED, FURTHER_SIGN_IN_NEEDED)


async def post_sync(connection: Connection, ask: Ask, now: datetime.datetime) -> Reply:
    request = _parse_sync(ask)
    settings = (await connection.settings.load()).settings
    absent = await missing_secrets(connection, settings)
    missing = [*settings.missing(), *(f"the secret {name}" for name in absent)]
    if missing:
        raise ApiError(409, "Not connected", f"Nothing can be read yet. Missing: {', '.join(missing)}.")
    unsaved = _unsaved(request, settings)
    what = await _what(connection, request, unsaved or settings)
    run, message = await request_run(
        connection,
        now,
        started_by="api",
        what=what,
        mode=request.mode,
        preview=request.preview,
        object_id=request.object_id.lower() if request.object_id else None,
        settings=unsaved,
    )
    return _json(run, status=202, headers={"Location": f"/api/runs/{run.id}"}, messages=[message])


def _unsaved(request: SyncRequest, saved: Settings) -> Settings | None:
    """The settings to preview; ``ApiError`` with the path of each faulty member."""
    document = bytes(request.settings)
    if not document or document == b"null":
        return None
    if not request.preview:
        raise _unprocessable((Problem("/settings", "goes with preview: true only; to sync with it, save it"),))
    try:
        settings = parse_settings(document)
    except InvalidSettings as error:
        problems = [Problem(f"/settings{problem.path}", problem.message) for problem in error.problems]
        raise _unprocessable(tuple(problems)) from error
    others = other_sections(saved, settings)
    if others:
        words = "has to be as it is saved: a preview reads with the saved connection"
        raise _unprocessable(tuple(Problem(f"/settings/{name}", words) for name in others))
    return settings


async def _what(connection: Connection, request: SyncRequest, settings: Settings) -> list[Kind]:
    """The kinds to sync. A preview may be asked for while they are off; a run may not."""
    asked = [kind for kind in KINDS if request.what is None or kind in request.what]
    active = active_kinds(settings, await connection.health.load())
    if request.preview:
        chosen = asked if request.what is not None else (active or ["users"])
    else:
        chosen = [kind for kind in asked if kind in active]
        off = [kind for kind in asked if kind not in active and (request.what is not None or not chosen)]
        if off:
            detail = f"The synchronization of {' and '.join(off)} is off or paused. Switch it on, or ask for a preview."
            raise ApiError(409, "Not enabled", detail)
    # An object id alone means a user; a group is asked for by name.
    return ["users"] if request.object_id is not None and request.what is None else chosen


async def post_pause(connection: Connection, ask: Ask, now: datetime.datetime) -> Reply:
    _check_json(ask)
    request = _parsed(ask.body or b"{}", PauseRequest)
    if request.preview:
        what: list[Kind] = [request.what] if request.delete else []
        return _accepted(await lifecycle.preview(connection, "pause", what, now))
    return await _changed(connection, await lifecycle.pause(connection, request.what, now, delete=request.delete), now)


async def post_resume(connection: Connection, ask: Ask, now: datetime.datetime) -> Reply:
    _check_json(ask)
    request = _parsed(ask.body or b"{}", ResumeRequest)
    return await _lives(connection, await lifecycle.resume(connection, request.what, now), now)


async def post_disable(connection: Connection, ask: Ask, now: datetime.datetime) -> Reply:
    _check_json(ask)
    request = _parsed(ask.body or b"{}", EndRequest)
    if request.preview:
        return _accepted(await lifecycle.preview(connection, "disable", request.what(), now))
    return await _changed(connection, await lifecycle.disable(connection, request.what(), now), now)


async def post_enable(connection: Connection, now: datetime.datetime) -> Reply:
    return await _lives(connection, await lifecycle.enable(connection, now), now)


async def post_disconnect(connection: Connection, ask: Ask, now: datetime.datetime) -> Reply:
    _check_json(ask)
    request = _parsed(ask.body or b"{}", EndRequest)
    if request.preview:
        return _accepted(await lifecycle.preview(connection, "disconnect", request.what(), now))
    return await _changed(connection, await lifecycle.disconnect(connection, request.what(), now), now)


async def _changed(connection: Connection, started: Started, now: datetime.datetime) -> Reply:
    """202 while a run has to finish what was asked for, else the new state."""
    return _accepted(started) if started.run is not None else await _lives(connection, started, now)


def _accepted(started: Started) -> Reply:
    run = started.run
    headers = {"Location": f"/api/runs/{run.id}"} if run is not None else {}
    return _json(run, status=202, headers=headers, messages=started.messages)


async def _lives(connection: Connection, started: Started, now: datetime.datetime) -> Reply:
    status = await read_status(connection, now)
    headers = {} if started.run is None else {"Location": f"/api/runs/{started.run.id}"}
    summary = LifeState(status.state, status.paused, status.disabled)
    return _json(summary, headers=headers, messages=started.messages)


async def get_runs(connection: Connection, ask: Ask) -> Reply:
    top = _top(ask, 50)
    runs = [run async for run in connection.runs.newest(top, _after(ask))]
    following = f"/api/runs?top={top}&after={runs[-1].id}" if len(runs) == top else None
    return _json(Listing(runs, following))


async def get_run(connection: Connection, run_id: str) -> Reply:
    return _json(await _run(connection, run_id))


async def get_items(connection: Connection, run_id: str, ask: Ask) -> Reply:
    run = await _run(connection, run_id)
    top, outcome = _top(ask, MAX_TOP), _outcome(ask.params.get("outcome", ""))
    page = await items_page(connection, run.id, outcome=outcome, after=_number(ask, "after", -1), top=top)
    query = f"&outcome={outcome}" if outcome else ""
    following = None if page.after is None else f"/api/runs/{run.id}/items?top={top}&after={page.after}{query}"
    return _json(Listing(page.items, following))


async def post_decision(
    connection: Connection, run_id: str, decision: Literal["approved", "rejected"], now: datetime.datetime
) -> Reply:
    run = await _run(connection, run_id)
    if run.status not in FINISHED:
        raise ApiError(409, "The run is not finished", "Wait until it is, then decide.")
    try:
        decided, messages = await decide(connection, run_id, decision, now)
    except (Conflict, Changed) as error:
        raise ApiError(409, "Nothing to decide", f"{error}") from error
    headers = {"Location": f"/api/runs/{messages[0].run}"} if messages else {}
    return _json(decided, status=202 if messages else 200, headers=headers, messages=messages)


async def get_links(connection: Connection, ask: Ask) -> Reply:
    kind = ask.params.get("kind", "users")
    if kind not in {"users", "groups", "contacts"}:
        raise ApiError(400, "Unknown kind", "kind has to be users, groups or contacts.")
    top, wanted = _top(ask, MAX_TOP), ask.params.get("search", "").casefold()
    links: list[LinkView] = []
    store = connection.links(_kind(kind))
    async for link in store.after(_after(ask)):
        if link.state != "released" and (not wanted or wanted in _searched(link)):
            links.append(_view(link, kind))
        if len(links) == top:
            break
    query = f"&search={quote(ask.params['search'])}" if wanted else ""
    following = f"/api/links?kind={kind}&top={top}&after={links[-1].object_id}{query}" if len(links) == top else None
    return _json(Listing(links, following))


async def put_secret(connection: Connection, name: str, ask: Ask, now: datetime.datetime) -> Reply:
    _check_json(ask)
    known = next((secret for secret in SECRET_NAMES if secret == name), None)
    if known is None:
        raise ApiError(404, "Unknown secret", f"The secrets are {', '.join(SECRET_NAMES)}.")
    value = _secret_value(ask)
    if known == "entra-client-certificate" and (fault := certificate_fault(value)):
        raise _unprocessable((Problem("/value", fault),))
    try:
        stored, messages = await replace_secret(connection, known, value, now)
    except graph.errors.Stop as error:
        words = f"{error}".rstrip(".")
        detail = f"Entra does not accept it, so it was not stored: {words}. {error.action}".strip()
        raise ApiError(422, "Entra rejects the credential", detail, (Problem("/value", words),)) from error
    except graph.errors.GraphError as error:
        detail = f"It was not stored, because Entra could not be asked about it: {error}. Try again later."
        raise ApiError(503, "Entra is not available", detail) from error
    return _json(stored, messages=messages)


async def get_openapi() -> Reply:
    return _json(document())


def problem(status: int, title: str, detail: str, problems: tuple[Problem, ...] = ()) -> Reply:
    """Problem details (RFC 9457), with every faulty member in ``errors``."""
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if problems:
        body["errors"] = [{"path": fault.path, "message": fault.message} for fault in problems]
    return Reply(status=status, body=msgspec.json.encode(body), headers={"Content-Type": PROBLEM})


def _json(
    data: Any,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    messages: list[Message] | tuple[Message, ...] = (),
) -> Reply:
    merged = {"Content-Type": JSON, "Cache-Control": "no-store", **(headers or {})}
    return Reply(status=status, body=msgspec.json.encode(data), headers=merged, messages=tuple(messages))


async def _run(connection: Connection, run_id: str) -> Run:
    run = await connection.runs.get(run_id)
    if run is None:
        raise ApiError(404, "No such run", f"There is no run {run_id[:80]}.")
    return run


def _check_json(ask: Ask) -> None:
    if len(ask.body) > MAX_BODY:
        raise ApiError(413, "Body too large", "A body may have 1 MB at most.")
    kind = ask.headers.get("content-type", "").split(";")[0].strip().lower()
    # curl -d says that it sends a form unless told otherwise; the body is read as JSON all the same.
    if kind not in {"", JSON, "application/x-www-form-urlencoded"} and not kind.endswith("+json"):
        raise ApiError(415, "Unsupported media type", f"Send {JSON}, not {kind[:80]}.")


def _parse_sync(ask: Ask) -> SyncRequest:
    _check_json(ask)
    request = _parsed(ask.body or b"{}", SyncRequest)
    problems = [
        Problem(f"/what/{index}", f"the synchronization of {name} is not part of this version yet")
        for index, name in enumerate(request.what or [])
        if name not in KINDS
    ]
    if request.what == []:
        problems.append(Problem("/what", "has to name what to sync"))
    if request.object_id is not None and not GUID.fullmatch(request.object_id):
        problems.append(Problem("/object_id", "has to be the object id of a user or a group, a GUID"))
    if problems:
        raise _unprocessable(tuple(problems))
    return request


def _secret_value(ask: Ask) -> str:
    value = _parsed(ask.body, SecretValue).value.strip()
    if not value or len(value.encode()) > MAX_BYTES:
        raise _unprocessable((Problem("/value", f"has to be a text of 1 to {MAX_BYTES:,} bytes"),))
    return value


def _parsed[T](body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _unprocessable((_located(str(error)),)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, "Not JSON", f"The body is not JSON: {error}.") from None


def _located(text: str) -> Problem:
    """msgspec says ``Expected `bool`, got `int` - at `$.preview` ``: take message and place apart."""
    message, _, place = text.partition(" - at `$")
    pointer = place.rstrip("`").replace("[", "/").replace("]", "").replace(".", "/")
    if message.startswith("Object contains unknown field"):
        return Problem(f"{pointer}/{message.split('`')[1]}", "there is no such member")
    return Problem(pointer, message)


def _unprocessable(problems: tuple[Problem, ...]) -> ApiError:
    return ApiError(422, "Unprocessable request", "The request was refused; nothing was done.", problems)


def _top(ask: Ask, default: int) -> int:
    top = _number(ask, "top", default)
    if not 1 <= top <= MAX_TOP:
        raise ApiError(400, "Wrong parameter", f"top has to be a whole number from 1 to {MAX_TOP}.")
    return top


def _after(ask: Ask) -> str:
    """The entry behind which a page begins; an id has nothing but letters, digits and dashes."""
    after = ask.params.get("after", "")
    if not re.fullmatch(r"[0-9A-Za-z-]{0,64}", after):
        raise ApiError(400, "Wrong parameter", "after has to be taken from the next of a page.")
    return after


def _number(ask: Ask, name: str, default: int) -> int:
    text = ask.params.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise ApiError(400, "Wrong parameter", f"{name} has to be a whole number.") from None


def _outcome(text: str) -> Outcome | None:
    known = next((outcome for outcome in OUTCOMES if outcome == text), None)
    if text and known is None:
        raise ApiError(400, "Unknown outcome", f"outcome has to be one of {', '.join(sorted(OUTCOMES))}.")
    return known


def _searched(link: Link) -> str:
    parts = (link.name, link.email, link.user_principal_name, link.number, link.object_id)
    return "\n".join(parts).casefold()


def _kind(kind: str) -> Kind:
    kinds: dict[str, Kind] = {"users": "users", "groups": "groups", "contacts": "contacts"}
    return kinds[kind]


def _view(link: Link, kind: str) -> LinkView:
    return LinkView(
        object_id=link.object_id,
        kind=kind,
        state=link.state,
        name=link.name,
        user_principal_name=link.user_principal_name,
        email=link.email,
        extension=link.number,
        pbx_id=link.pbx_id,
        associated=link.associated,
        changed_at=link.changed_at,
        run_id=link.run_id,
    )
