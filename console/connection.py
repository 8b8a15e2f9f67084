"""What is connected and how it fares, its secrets, who may come in, and the ways to stop or end it.

Whatever stops or deletes something has a page of its own first, which says exactly what will happen.
"""

import secrets

import msgspec
from starlette.responses import Response

from console import diagnostics
from console.app import Pages
from console.connect import Look, look, proof_name, remember
from console.decisions import ACTIONS, KINDS, Action, Decision, counted, decision, obstacle
from console.mending import mend
from console.plain import plain
from console.rules import Sheet, read_only, save, sent_sheet, stored_sheet
from console.sign_in import with_cookie
from console.visit import Refusal, Visit
from graph.errors import GraphError
from sso import sessions
from sso.account import forget_all, read_account
from store.document import Settings
from store.health import Health
from store.links import Kind
from store.secrets import SecretName, certificate_fault
from sync import lifecycle
from sync.choices import Going, what_would_go
from sync.connect import PbxTested, Trouble, test_pbx
from sync.lifecycle import Started
from sync.service import Conflict, replace_secret
from sync.status import read_status

pages = Pages()

HOME = "/console/connection"
CONFIRMATION = "disconnect"
UNTRIED: SecretName = "pbx-webhook-secret"
"""Nothing can be asked whether it is right: the PBX signs its events with it."""
WORDS: dict[SecretName, tuple[str, str]] = {
    "entra-client-secret": ("Client secret of the application", "Its value from Entra, not its id."),
    "entra-client-certificate": (
        "Certificate of the application, with its private key (PEM)",
        "Without a password. Upload the certificate alone to the app registration first.",
    ),
    "pbx-client-secret": ("Client secret of the PBX's API", "From Integrations, API on the PBX."),
    UNTRIED: ("Secret of the PBX's webhook", "From the PBX's webhook settings. It proves that events are the PBX's."),
}


class SecretForm(msgspec.Struct, frozen=True):
    """A secret that can be replaced."""

    name: SecretName
    label: str
    hint: str
    is_stored: bool
    trouble: Trouble | None = None
    """Why the one that was just given was not taken."""

    @property
    def is_long(self) -> bool:
        return self.name == "entra-client-certificate"


class Tried(msgspec.Struct, frozen=True):
    """What came of a test that was asked for."""

    microsoft: Look
    pbx: PbxTested | None = None
    pbx_trouble: Trouble | None = None


class Doing(msgspec.Struct, frozen=True):
    """A decision page that was asked for or sent."""

    decision: Decision
    kind: Kind
    going: list[Going]
    """What is there to be deleted."""
    chosen: list[Kind] = []
    """What of it was ticked."""
    trouble: str = ""


@pages.get(HOME)
async def show(visit: Visit) -> Response:
    """The connection as it is stored; nobody is asked."""
    return await _page(visit)


@pages.post(f"{HOME}/test", role="admin")
async def test(visit: Visit) -> Response:
    """Try both sides with what is stored."""
    settings = await visit.settings()
    seen = await look(visit, settings)
    try:
        found = await test_pbx(visit.connection, settings.pbx, "", now=visit.now.timestamp)
    except Trouble as trouble:
        return await _page(visit, tried=Tried(seen, pbx_trouble=trouble))
    await remember(visit, found)
    return await _page(visit, tried=Tried(seen, found))


@pages.post(f"{HOME}/secret", role="admin")
async def replace(visit: Visit) -> Response:
    """Put a secret in the place of the old one, which stays unless the new one works."""
    settings, value = await visit.settings(), visit.text("value")
    name = next((name for name in _names(settings) if name == visit.text("name")), None)
    if name is None:
        raise Refusal(422, "No such secret", "The connection has no secret of this name. Nothing was changed.")
    try:
        await _try(visit, settings, name, value)
        _, messages = await replace_secret(visit.connection, name, value, visit.now)
    except Trouble as trouble:
        return await _page(visit, 422, refused=(name, trouble))
    except GraphError as error:
        words = f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}."
        return await _page(visit, 422, refused=(name, Trouble(error.code, words, error.action)))
    visit.queue(messages)
    await visit.audit("secret.replaced", subject=name)
    return visit.go(HOME, done="secret-stored" if name == UNTRIED else "secret-replaced")


@pages.post(f"{HOME}/setup-key", role="admin")
async def switch_setup_key(visit: Visit) -> Response:
    """Let the setup key sign in beside the accounts, or not."""
    saved = await save(visit, sent_sheet(visit.form, ["console"]))
    if isinstance(saved, Sheet):
        return await _page(visit, saved.status, sheet=saved)
    return visit.go(HOME, done="saved")


@pages.post(f"{HOME}/sign-everybody-out", role="admin")
async def sign_everybody_out(visit: Visit) -> Response:
    """End all sessions, this one too."""
    await sessions.end_all(visit.place, visit.now)
    await visit.audit("sessions.ended")
    return with_cookie(visit.go("/console/sign-in", done="ended"), sessions.COOKIE, "")


@pages.post(f"{HOME}/diagnostics", role="admin")
async def download(visit: Visit) -> Response:
    """The file for a support request."""
    facts = await diagnostics.gather(visit.connection, visit.now)
    body = diagnostics.compose(facts, secrets.token_bytes(32), visit.now)
    await visit.audit("diagnostics.downloaded")
    name = f"entra-bridge-diagnostics-{visit.now:%Y%m%d-%H%M%S}.json"
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(body, media_type="application/json", headers=disposition)


@pages.get(f"{HOME}/{{action}}", role="admin")
async def ask(visit: Visit) -> Response:
    """What an action will do, before it is done."""
    decided, kind = _decision(visit, visit.query("what"))
    return await _decision_page(visit, Doing(decided, kind, await what_would_go(visit.connection, decided.kinds)))


@pages.post(f"{HOME}/{{action}}", role="admin")
async def act(visit: Visit) -> Response:
    """Do it, or list first what would be deleted."""
    decided, kind = _decision(visit, visit.text("what"))
    going = await what_would_go(visit.connection, decided.kinds)
    chosen = [one for one in decided.kinds if visit.is_set(f"delete-{one}")]
    doing = Doing(decided, kind, going, chosen)
    if visit.text("act") == "list":
        return await _listed(visit, doing)
    if trouble := await _objection(visit, doing):
        return await _decision_page(visit, msgspec.structs.replace(doing, trouble=trouble), 422)
    try:
        started = await _started(visit, doing)
    except Conflict as error:
        return await _decision_page(visit, msgspec.structs.replace(doing, trouble=plain(str(error))), 409)
    visit.queue(started.messages)
    await visit.audit(decided.deed, after=_deletions(doing))
    if started.run is not None:
        return visit.go(f"/console/runs/{started.run.id}", done=decided.done)
    if decided.action == "disconnect":
        return await _left(visit)
    return visit.go(HOME, done=decided.done)


async def _left(visit: Visit) -> Response:
    """The connection is forgotten, and with it whom its tenant had let in."""
    await forget_all(visit.place)
    await sessions.end_all(visit.place, visit.now)
    return with_cookie(visit.go("/console/sign-in", done="disconnected"), sessions.COOKIE, "")


async def _page(
    visit: Visit,
    status: int = 200,
    *,
    tried: Tried | None = None,
    refused: tuple[SecretName, Trouble] | None = None,
    sheet: Sheet | None = None,
) -> Response:
    stored, health = await visit.connection.settings.load(), await visit.connection.health.load()
    settings, state = stored.settings, await read_status(visit.connection, visit.now)
    return visit.render(
        "connection.html",
        status,
        settings=settings,
        state=state,
        reasons=[mend(reason, health) for reason in state.reasons],
        health=health,
        account=await read_account(visit.place),
        secrets=[_secret_form(name, health, refused) for name in _names(settings)],
        sheet=sheet or stored_sheet(stored, ["console"]),
        has_setup_key=bool(visit.connection.environment.setup_key),
        tried=tried,
        locked=read_only(health),
        zone=settings.schedule.time_zone,
    )


def _names(settings: Settings) -> list[SecretName]:
    """The secrets that this connection has."""
    proof = [] if settings.microsoft.credential == "federated" else [proof_name(settings.microsoft)]
    return [*proof, "pbx-client-secret", UNTRIED]


def _secret_form(name: SecretName, health: Health, refused: tuple[SecretName, Trouble] | None) -> SecretForm:
    label, hint = WORDS[name]
    trouble = refused[1] if refused is not None and refused[0] == name else None
    return SecretForm(name, label, hint, name in health.secrets, trouble)


async def _try(visit: Visit, settings: Settings, name: SecretName, value: str) -> None:
    """What can be known about a secret before it is stored; Entra is asked when it is."""
    if not value:
        raise Trouble("empty", "Nothing was entered.", "Paste the new value.")
    if name == "entra-client-certificate" and (fault := certificate_fault(value)):
        raise Trouble("unusable", f"This {fault}.")
    if name == "pbx-client-secret":
        await remember(visit, await test_pbx(visit.connection, settings.pbx, value, now=visit.now.timestamp))


def _decision(visit: Visit, what: str) -> tuple[Decision, Kind]:
    """What the address and the form ask for."""
    action: Action | None = next((one for one in ACTIONS if one == visit.request.path_params["action"]), None)
    kind: Kind | None = next((one for one in KINDS if one == what), None)
    if action is None or (kind is None and action in {"pause", "resume"}):
        raise Refusal(404, "Not found", "There is no page at this address.", link=("Connection", HOME))
    return decision(action, kind or "users"), kind or "users"


async def _decision_page(visit: Visit, doing: Doing, status: int = 200) -> Response:
    health, settings = await visit.connection.health.load(), await visit.settings()
    return visit.render(
        "decision.html",
        status,
        doing=doing,
        decision=doing.decision,
        words={one.kind: counted(one.kind, one.number) for one in doing.going},
        obstacle=obstacle(doing.decision.action, doing.kind, health),
        tenant=settings.microsoft.tenant_id,
        is_ending=health.is_disconnecting,
    )


async def _objection(visit: Visit, doing: Doing) -> str:
    """Why it is not done yet, although the button was pressed; empty when nothing stands in the way."""
    if words := obstacle(doing.decision.action, doing.kind, await visit.connection.health.load()):
        return words
    for one in doing.going:
        if one.kind in doing.chosen and visit.text(f"seen-{one.kind}") != str(one.number):
            return f"There are {counted(one.kind, one.number)} now, another number than you were shown. Look again."
    tenant = (await visit.settings()).microsoft.tenant_id
    typed = visit.text("confirmation").casefold()
    if doing.decision.action == "disconnect" and typed not in {CONFIRMATION, tenant.casefold() or CONFIRMATION}:
        return f"To confirm, type {tenant or CONFIRMATION} or {CONFIRMATION}." if tenant else f"Type {CONFIRMATION}."
    return ""


async def _listed(visit: Visit, doing: Doing) -> Response:
    """A run that lists what would be deleted and changes nothing."""
    action = doing.decision.action
    if not doing.chosen or action == "resume" or action == "enable":  # noqa: PLR1714 - a type checker follows this
        trouble = "Choose what is to be deleted; without that, nothing would be."
        return await _decision_page(visit, msgspec.structs.replace(doing, trouble=trouble), 422)
    try:
        started = await lifecycle.preview(visit.connection, action, doing.chosen, visit.now)
    except Conflict as error:
        return await _decision_page(visit, msgspec.structs.replace(doing, trouble=plain(str(error))), 409)
    visit.queue(started.messages)
    return visit.go(f"/console/runs/{started.run.id}" if started.run else HOME)


async def _started(visit: Visit, doing: Doing) -> Started:
    connection, now, kind = visit.connection, visit.now, doing.kind
    match doing.decision.action:
        case "pause":
            return await lifecycle.pause(connection, kind, now, delete=bool(doing.chosen))
        case "resume":
            return await lifecycle.resume(connection, kind, now)
        case "disable":
            return await lifecycle.disable(connection, doing.chosen, now)
        case "enable":
            return await lifecycle.enable(connection, now)
        case "disconnect":
            return await lifecycle.disconnect(connection, doing.chosen, now)


def _deletions(doing: Doing) -> str:
    """What is deleted with it, for the activity."""
    parts = [counted(one.kind, one.number) for one in doing.going if one.kind in doing.chosen]
    return f"deletes {' and '.join(parts)}" if parts else ""
