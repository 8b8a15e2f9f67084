"""Setting the bridge up, step by step: the application in Entra, the tenant, the PBX, who signs in, the permissions.

Whatever is typed is tried before it is kept: a step that does not work changes nothing.
"""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import RedirectResponse, Response

from console.app import Pages
from console.plain import plain
from console.rules import Sheet, checked, read_only, save, sent_sheet, stored_sheet
from console.sign_in import note, opened, sent_away, signed_in, target, with_cookie
from console.visit import MINE, Refusal, Visit
from presence.subscriptions import end
from sso import signin
from sso.account import Account, forget_further, further_accounts, read_account, settle_in
from sso.consent import Permission, permissions
from sso.failures import STATE_MISMATCH, Failed
from sso.signin import Completed, Purpose
from store.document import Microsoft, Settings
from store.errors import SecretMissing
from store.health import Health, PbxFacts
from store.secrets import SecretName, certificate_fault
from store.settings import Stored
from sync.connect import MicrosoftTested, PbxTested, Trouble, test_microsoft, test_pbx
from sync.service import store_secret

log = logging.getLogger("console")

pages = Pages()

REDIRECTS = ("/connect/callback", "/sso/callback")
NEEDED = {
    "/microsoft/tenant_id": "The bridge needs to know the tenant.",
    "/microsoft/client_id": "The bridge needs to know its application.",
    "/pbx/fqdn": "The bridge needs to know where the PBX is.",
    "/pbx/client_id": "The PBX asks for the client id of the bridge.",
}
REFUSED = frozenset({"account_disabled", "consent_missing", "no_role", "not_assigned", "tenant_mismatch"})
"""Microsoft knows who it is, and that is not enough."""


class Step(msgspec.Struct, frozen=True):
    """How far one step is."""

    words: str
    kind: str
    """Colour of the words: good, warn, bad or calm."""

    @property
    def is_done(self) -> bool:
        return self.kind == "good"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A form that was sent: what was typed, what came of it. Secrets are never in it."""

    sheet: Sheet
    fault: str = ""
    """What is wrong with the secret."""
    trouble: Trouble | None = None
    status: int = 200


@pages.get("/connect", role="admin")
async def show(visit: Visit) -> Response:
    """The steps, and how far each of them is."""
    return await _page(visit, {})


@pages.post("/connect", role="admin")
async def posted(visit: Visit) -> Response:
    """One step; the field ``step`` says which."""
    step = visit.text("step")
    if reason := await _locked(visit):
        raise Refusal(
            409, "Not possible now", f"{reason} Nothing was changed.", link=("Connection", "/console/connection")
        )
    if step in {"account", "consent", "presence"}:
        return await _to_microsoft(visit, step)
    if step == "remove":
        return await _removed(visit)
    if step not in {"microsoft", "pbx"}:
        raise Refusal(422, "No such step", "The form names no step that there is. Nothing was changed.")
    attempt = await (_microsoft(visit) if step == "microsoft" else _pbx(visit))
    if attempt.status == 200:
        return visit.go("/connect", done=f"{step}-works")
    return await _page(visit, {step: attempt}, attempt.status)


@pages.post("/connect/callback", role=None, is_cross_site=True)
async def came_back(visit: Visit) -> Response:
    """Microsoft's answer to a sign-in, which its page sends as a form."""
    sent = {name: value for name, value in visit.form.items() if isinstance(value, str)}
    return await _completed(visit, sent)


@pages.get("/connect/callback", role=None)
async def consented(visit: Visit) -> Response:
    """Microsoft's answer to the question for an administrator's consent. Errors of a sign-in may come this way too."""
    query = dict(visit.request.query_params)
    if "admin_consent" not in query:
        return await _completed(visit, query)
    outcome = await signin.consent_result(visit.place, query, visit.request.cookies, visit.now)
    if isinstance(outcome, Failed):
        return await _failed(visit, outcome)
    await note(visit, await signed_in(visit), "consent.granted")
    return _forget_state(visit.go("/connect", done="consented"))


async def _completed(visit: Visit, sent: Mapping[str, str]) -> Response:
    outcome = await signin.complete(visit.place, sent, visit.request.cookies, visit.now)
    if isinstance(outcome, Failed):
        return await _failed(visit, outcome)
    response = await _welcomed(visit, outcome)
    return _forget_state(opened(response, outcome.cookie) if outcome.cookie else response)


async def _welcomed(visit: Visit, outcome: Completed) -> Response:
    """Record who came, and send them where they began."""
    match outcome.purpose:
        case "connect":
            await note(visit, outcome.session, "account.connected", subject="Microsoft")
            return visit.go("/connect", done="connected")
        case "presence":
            who = named(outcome.account) if outcome.account else ""
            await note(visit, outcome.session, "presence_account.added", subject=who)
            return visit.go("/connect", done="presence-account-added")
        case "person":
            # Everybody of the company may come here: what they change is recorded, not that they looked.
            if outcome.session.role != "person":
                await note(visit, outcome.session, "signed_in", subject="Microsoft")
            return RedirectResponse(MINE, 303)
        case "console":
            await note(visit, outcome.session, "signed_in", subject="Microsoft")
            return RedirectResponse(target(outcome.return_to), 303)


async def _failed(visit: Visit, failed: Failed) -> Response:
    # Anybody can begin a sign-in, and send an answer to it, as often as they like: that must not fill the trail.
    if failed.who:
        words = f"{failed.code}: {failed.message} It was {failed.who}."
        await note(visit, None, "sign_in_refused", subject="Microsoft", after=words)
    status = 403 if failed.code in REFUSED else 400
    response = visit.render("sign_in_failed.html", status, failed=failed, is_mine=failed.return_to == MINE)
    # An answer that another site forged is no end of the sign-in that is under way.
    return response if failed.code == STATE_MISMATCH.code else _forget_state(response)


def _forget_state(response: Response) -> Response:
    return with_cookie(response, signin.STATE_COOKIE, "", same_site="None")


async def _to_microsoft(visit: Visit, step: str) -> Response:
    """Send the browser away to sign in, or to give the consent of an administrator."""
    if visit.session is None:
        raise Refusal(401, "Signed out", "Your session has ended.", link=("Sign in", "/console/sign-in"))
    if step == "consent":
        return sent_away(await signin.admin_consent_url(visit.place, visit.session.id, visit.now))
    if step == "presence" and not (await visit.settings()).presence.enabled:
        words = "Presence is switched off, so no further account is needed. Nothing was changed."
        raise Refusal(409, "Not possible now", words, link=("Connect", "/connect"))
    purpose: Purpose = "presence" if step == "presence" else "connect"
    return sent_away(await signin.begin(visit.place, purpose, visit.session.id, "/connect", visit.now))


async def _removed(visit: Visit) -> Response:
    """Remove a further account."""
    object_id = visit.text("account")
    account = next((one for one in await further_accounts(visit.place) if one.object_id == object_id), None)
    if account is None:
        words = "There is no such account; perhaps somebody else removed it. Nothing was changed."
        raise Refusal(404, "No such account", words, link=("Connect", "/connect"))
    if trouble := await end(visit.presence_room, account.object_id):  # its token is gone afterwards
        log.warning("%s", trouble)
    await forget_further(visit.place, account.object_id)
    await visit.audit("presence_account.removed", subject=named(account))
    return visit.go("/connect", done="presence-account-removed")


def named(account: Account) -> str:
    """How people know an account."""
    return f"{account.name} ({account.user_principal_name})"


async def _microsoft(visit: Visit) -> Attempt:
    """Try the application in its tenant, and keep it when it works."""
    sheet, stored, settings = await _checked(visit, "microsoft")
    if settings is None:
        return Attempt(sheet=sheet, status=sheet.status)
    microsoft, before = settings.microsoft, stored.settings.microsoft
    name = proof_name(microsoft)
    typed = "" if microsoft.credential == "federated" else visit.text(microsoft.credential)
    is_same = (microsoft.tenant_id, microsoft.client_id) == (before.tenant_id, before.client_id)
    value = typed or await _kept(visit, name, is_same=is_same)
    if fault := _proof_fault(microsoft.credential, value):
        return Attempt(sheet=sheet, fault=fault, status=422)
    try:
        tested = await test_microsoft(visit.connection, settings, name, value)
    except Trouble as trouble:
        return Attempt(sheet=sheet, trouble=trouble, status=422)
    attempt = await _saved(visit, sheet, name, typed)
    if attempt.status == 200 and visit.session is not None:
        await settle_in(visit.place, tested.tenant_id, visit.session)
    return attempt


async def _pbx(visit: Visit) -> Attempt:
    """Try the PBX, and keep it when it works."""
    sheet, stored, settings = await _checked(visit, "pbx")
    if settings is None:
        return Attempt(sheet=sheet, status=sheet.status)
    pbx, before = settings.pbx, stored.settings.pbx
    typed = visit.text("secret")
    # The stored secret goes to the PBX that it was given for, and to no other.
    is_same = (pbx.fqdn, pbx.client_id) == (before.fqdn, before.client_id)
    value = typed or await _kept(visit, "pbx-client-secret", is_same=is_same)
    if not value:
        return Attempt(sheet=sheet, fault="Enter the client secret that the PBX shows.", status=422)
    try:
        tested = await test_pbx(visit.connection, pbx, value, now=visit.now.timestamp)
    except Trouble as trouble:
        return Attempt(sheet=sheet, trouble=trouble, status=422)
    attempt = await _saved(visit, sheet, "pbx-client-secret", typed)
    if attempt.status == 200:
        await remember(visit, tested)
    return attempt


async def _checked(visit: Visit, section: str) -> tuple[Sheet, Stored, Settings | None]:
    """As ``rules.checked``; what a connection cannot do without has to be there as well."""
    sheet, stored, settings = await checked(visit, sent_sheet(visit.form, [section]))
    blank = {path: words for path, words in NEEDED.items() if path.startswith(f"/{section}/") and not visit.text(path)}
    sheet = msgspec.structs.replace(sheet, faults={**sheet.faults, **blank})
    return sheet, stored, settings if sheet.is_fine else None


async def _saved(visit: Visit, sheet: Sheet, name: SecretName, typed: str) -> Attempt:
    """Keep what works: first the settings, which may be refused, then the secret that belongs to them."""
    saved = await save(visit, sheet)
    if isinstance(saved, Sheet):
        sheet = msgspec.structs.replace(saved, obstacle=plain(saved.obstacle))
        return Attempt(sheet=sheet, status=sheet.status)
    if typed:
        _, messages = await store_secret(visit.connection, name, typed, visit.now)
        visit.queue(messages)
        await visit.audit("secret.replaced", subject=name)
    return Attempt(sheet=sheet)


async def remember(visit: Visit, tested: PbxTested) -> None:
    """Keep what the PBX said about itself: pages show it before the first run asks again."""
    facts = PbxFacts(
        model=tested.model,
        firmware=tested.firmware,
        serial=tested.serial,
        extension_capacity=tested.extension_capacity,
        extension_used=tested.extension_used,
        read_at=visit.now.isoformat(timespec="seconds"),
    )
    await visit.connection.health.update(lambda health: msgspec.structs.replace(health, pbx=facts))


def proof_name(microsoft: Microsoft) -> SecretName:
    """Where the proof of the application is kept; a federated credential has none there."""
    return "entra-client-certificate" if microsoft.credential == "certificate" else "entra-client-secret"


async def _kept(visit: Visit, name: SecretName, *, is_same: bool) -> str:
    """The secret that is stored already, if it may be used for what was typed."""
    if not is_same:
        return ""
    try:
        return (await visit.connection.secrets.read(name)).value
    except SecretMissing:
        return ""


def _proof_fault(credential: str, value: str) -> str:
    if credential == "federated":
        return ""
    if not value:
        what = "client secret" if credential == "secret" else "certificate with its private key"
        return f"Enter the {what} of the application."
    fault = certificate_fault(value) if credential == "certificate" else ""
    return f"This {fault}." if fault else ""


async def _locked(visit: Visit) -> str:
    """Why the connection cannot be set up anew now; empty when it can."""
    health = await visit.connection.health.load()
    if health.paused and not health.disabled:
        words = " and ".join(health.paused)
        return f"The synchronization of {words} is paused, so the connection stays as it is. Resume it first."
    return read_only(health)


class Look(msgspec.Struct, frozen=True):
    """What Microsoft says about the application right now."""

    tested: MicrosoftTested | None = None
    trouble: Trouble | None = None


async def look(visit: Visit, settings: Settings) -> Look:
    """Try the application as it is stored; an empty look while there is nothing to try."""
    try:
        return Look(await test_microsoft(visit.connection, settings, proof_name(settings.microsoft), ""))
    except Trouble as trouble:
        return Look() if trouble.code in {"incomplete", "secret_missing"} else Look(trouble=trouble)


async def _page(visit: Visit, attempts: Mapping[str, Attempt], status: int = 200) -> Response:
    stored = await visit.connection.settings.load()
    settings, health = stored.settings, await visit.connection.health.load()
    seen, account = await look(visit, settings), await read_account(visit.place)
    needed = await permissions(visit.place, seen.tested.permissions if seen.tested else [])
    context: dict[str, Any] = {
        "base": visit.connection.environment.public_base_url,
        "redirects": REDIRECTS,
        "settings": settings,
        "microsoft": attempts.get("microsoft") or Attempt(sheet=stored_sheet(stored, ["microsoft"])),
        "pbx": attempts.get("pbx") or Attempt(sheet=stored_sheet(stored, ["pbx"])),
        "has_secret": {kind: f"entra-client-{kind}" in health.secrets for kind in ("secret", "certificate")},
        "has_pbx_secret": "pbx-client-secret" in health.secrets,
        "facts": health.pbx,
        "look": seen,
        "account": account,
        "further": await further_accounts(visit.place),
        "unasked": _unasked(account, needed),
        "permissions": needed,
        "steps": steps(settings, health, seen, account, needed),
        "locked": await _locked(visit),
    }
    return visit.render("connect.html", status, **context)


def steps(
    settings: Settings, health: Health, seen: Look, account: Account | None, needed: list[Permission]
) -> dict[str, Step]:
    """How far each step is, by its name."""
    missing = [one for one in needed if one.is_needed and not one.granted]
    has_microsoft = bool(settings.microsoft.tenant_id and settings.microsoft.client_id)
    has_pbx = bool(settings.pbx.fqdn and settings.pbx.client_id and "pbx-client-secret" in health.secrets)
    return {
        "microsoft": _microsoft_step(seen),
        "register": Step("Done", "good") if has_microsoft else Step("To do", "calm"),
        "pbx": Step("Done", "good") if has_pbx else Step("To do", "calm"),
        "account": _account_step(account, needed),
        "consent": _consent_step(seen, missing),
    }


def _microsoft_step(seen: Look) -> Step:
    if seen.trouble is not None:
        return Step("Does not work", "bad")
    return Step("To do", "calm") if seen.tested is None else Step("Done", "good")


def _account_step(account: Account | None, needed: list[Permission]) -> Step:
    if account is None:
        return Step("To do", "calm")
    is_good = account.state == "valid" and not _unasked(account, needed)
    return Step("Done", "good") if is_good else Step("Sign in again", "warn")


def _unasked(account: Account | None, needed: list[Permission]) -> list[str]:
    """What the rules ask of the account since they changed, and it was not given when it signed in."""
    if account is None:
        return []
    return [one.name for one in needed if one.kind == "delegated" and one.is_needed and not one.granted]


def _consent_step(seen: Look, missing: list[Permission]) -> Step:
    if seen.tested is None:
        return Step("To do", "calm")
    return Step(f"{len(missing)} missing", "warn") if missing else Step("Done", "good")
