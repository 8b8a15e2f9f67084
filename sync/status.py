"""The state of a connection as the PBX, a monitor or the console reads it."""

import datetime
from collections.abc import Sequence
from typing import Literal

import msgspec

from store.document import Settings
from store.errors import StoreError
from store.health import Health, Reason
from store.links import Kind
from store.presence import Figures
from store.runs import Run
from store.secrets import SecretName
from sync.connection import REMOVAL_INCOMPLETE, Connection
from sync.faults import MISSING_SECRETS
from sync.running import active_kinds
from sync.service import EXPIRY_DAYS, missing_secrets, next_run_at
from sync.stage import HELD
from sync.subscriptions import View, overview, unreachable

NO_PRESENCE = Figures(enabled=False)

type State = Literal["not_connected", "connected", "paused", "disabled", "needs_attention"]

EXPIRY_WARNING = datetime.timedelta(days=14)
"""Early enough to find somebody who may create a secret, late enough to be taken seriously."""


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The newest run that was no preview and was not refused, in short; the rest is at ``/api/runs/{id}``."""

    id: str
    status: str
    mode: str
    preview: bool
    started_by: str
    started_at: str | None
    finished_at: str | None
    counts: dict[str, int]
    items: int
    message: str


class SecretExpiry(msgspec.Struct, frozen=True):
    """When the credential of the Entra application ends."""

    at: str
    days_left: int


class PbxStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The PBX as it last described itself."""

    fqdn: str
    model: str = ""
    firmware: str = ""
    serial: str = ""
    read_at: str | None = None


class CapacityStatus(msgspec.Struct, frozen=True):
    """Extensions: what the licence allows, what is in use, what is left."""

    extensions: int
    used: int
    free: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of ``GET /api/status``."""

    connection: str
    state: State
    reasons: list[Reason]
    paused: list[Kind]
    """What is paused."""
    disabled: bool
    """The whole integration is suspended."""
    last_run: RunSummary | None
    next_run: str | None
    """When the next run starts by itself (RFC 3339, UTC)."""
    last_full_success: str | None
    counts: dict[str, int]
    """Linked objects by kind."""
    subscriptions: list[View]
    """Graph's change notifications."""
    warnings: list[str]
    """What deserves a look and stops nothing."""
    secret_expiry: SecretExpiry | None
    pbx: PbxStatus
    capacity: CapacityStatus | None
    presence: Figures = NO_PRESENCE


async def read_status(connection: Connection, now: datetime.datetime, presence: Figures = NO_PRESENCE) -> Status:
    """Put the state together from what is stored; neither Graph nor the PBX is asked. ``presence`` comes from the room
    that knows it."""
    settings = (await connection.settings.load()).settings
    missing, trouble = await _missing(connection, settings)
    health = await connection.health.load()
    recent = [run async for run in connection.runs.newest(10)]
    runs = [run for run in recent if not run.preview and run.status != "refused"]
    reasons = [*trouble, *_missing_reasons(settings, missing), *health.reasons, *_expiry_reasons(health, now)]
    return Status(
        connection=connection.id,
        state=_state(settings, missing, reasons, health),
        reasons=reasons,
        paused=health.paused,
        disabled=health.disabled,
        last_run=_summary(runs[0]) if runs else None,
        next_run=_stamp(next_run_at(settings, health, now)),
        last_full_success=health.last_full_success,
        counts={"users": health.counts.get("users", 0), "groups": health.counts.get("groups", 0)},
        subscriptions=await overview(connection),
        presence=presence,
        warnings=[*_warnings(connection, settings, health, now), *_presence_warnings(presence)],
        secret_expiry=_expiry(health, now),
        pbx=_pbx(settings, health),
        capacity=_capacity(health),
    )


def _warnings(connection: Connection, settings: Settings, health: Health, now: datetime.datetime) -> list[str]:
    silent, expiry = unreachable(connection.environment), _expiry(health, now)
    warnings = [f"{silent} Changes are found by the poll."] if silent and active_kinds(settings, health) else []
    if expiry is not None and 0 <= expiry.days_left <= max(EXPIRY_DAYS):
        days = "1 day" if expiry.days_left == 1 else f"{expiry.days_left} days"
        warnings.append(f"The credential of the Entra application expires on {expiry.at[:10]}, in {days}.")
    return warnings


def _presence_warnings(presence: Figures) -> list[str]:
    troubles = dict.fromkeys(one.last_error for one in presence.accounts if one.last_error)
    return [f"Presence is polled, because its changes are not announced: {trouble}" for trouble in troubles]


async def _missing(connection: Connection, settings: Settings) -> tuple[list[SecretName], list[Reason]]:
    if settings.missing():
        return [], []
    try:
        return await missing_secrets(connection, settings), []
    except StoreError as error:
        return [], [Reason("key_vault", f"The secrets cannot be looked up: {error}.", "Check the Key Vault.")]


def _state(settings: Settings, missing: Sequence[str], reasons: Sequence[Reason], health: Health) -> State:
    """What an administrator switched off is no fault: only deletions that fail make a disabled one need attention."""
    if settings.missing() or missing:
        return "not_connected"
    if health.disabled:
        is_stuck = any(reason.code == REMOVAL_INCOMPLETE for reason in reasons)
        return "needs_attention" if is_stuck else "disabled"
    at_rest = {HELD[kind] for kind in health.paused}  # decided when it is resumed
    if any(reason.code not in at_rest for reason in reasons):
        return "needs_attention"
    return "paused" if health.paused else "connected"


def _missing_reasons(settings: Settings, secrets: Sequence[SecretName]) -> list[Reason]:
    members = [
        Reason("setting_missing", f"The settings lack {path}.", "Fill it in: PUT /api/settings.")
        for path in settings.missing()
    ]
    return members + [
        Reason(
            "secret_missing",
            f"{MISSING_SECRETS[name][0][:1].upper()}{MISSING_SECRETS[name][0][1:]}.",
            MISSING_SECRETS[name][1],
        )
        for name in secrets
    ]


def _expiry_reasons(health: Health, now: datetime.datetime) -> list[Reason]:
    expiry = _expiry(health, now)
    if expiry is None or expiry.days_left > EXPIRY_WARNING.days:
        return []
    day = expiry.at[:10]
    words = f"expired on {day}" if expiry.days_left < 0 else f"expires on {day}, in {expiry.days_left} days"
    action = "Create a new one in the app registration and store it here: PUT /api/secrets/entra-client-secret."
    return [Reason("secret_expires", f"The credential of the Entra application {words}.", action)]


def _expiry(health: Health, now: datetime.datetime) -> SecretExpiry | None:
    if health.secret_expires_at is None:
        return None
    end = datetime.datetime.fromisoformat(health.secret_expires_at)
    return SecretExpiry(health.secret_expires_at, (end - now).days)


def _summary(run: Run) -> RunSummary:
    return RunSummary(
        id=run.id,
        status=run.status,
        mode=run.mode,
        preview=run.preview,
        started_by=run.started_by,
        started_at=run.started_at,
        finished_at=run.finished_at,
        counts=run.counts,
        items=run.items,
        message=run.message,
    )


def _pbx(settings: Settings, health: Health) -> PbxStatus:
    facts = health.pbx
    if facts is None:
        return PbxStatus(fqdn=settings.pbx.fqdn)
    return PbxStatus(
        fqdn=settings.pbx.fqdn,
        model=facts.model,
        firmware=facts.firmware,
        serial=facts.serial,
        read_at=facts.read_at,
    )


def _capacity(health: Health) -> CapacityStatus | None:
    facts = health.pbx
    if facts is None or facts.extension_capacity is None or facts.extension_used is None:
        return None
    total, used = facts.extension_capacity, facts.extension_used
    return CapacityStatus(total, used, max(0, total - used))


def _stamp(moment: datetime.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
