"""One connection, tenant and PBX: its stores, and gateways opened with its settings and secrets."""

import datetime
import logging

import msgspec

from graph.client import Graph
from graph.credentials import Application, ApplicationCredential
from pbx.address import Address
from pbx.client import Pbx
from pbx.tokens import Credentials, SharedToken
from store.cursors import CursorStore
from store.document import Settings
from store.environment import Environment
from store.groups import GroupStore
from store.health import Health, HealthStore, Reason
from store.leases import LeaseStore
from store.links import Kind, LinkStore
from store.runs import Fault, Run, RunStore
from store.secrets import Secret, SecretName, SecretStore
from store.settings import SettingsStore
from store.tables import Tables
from store.tokens import TokenStore
from sync.faults import Policy

log = logging.getLogger("sync")

EXPIRY_CHECK = datetime.timedelta(hours=12)
RETRY_MINUTES = (5, 10, 20, 40, 60)
"""Pauses before a failed run is tried again; the last one repeats."""
ATTENTION_AFTER = 3
"""So many failures in a row that pass by themselves, and an administrator is told all the same."""


class Connection:
    """Everything that belongs to one connection id. Cheap to make; gateways are opened when they are needed."""

    def __init__(self, connection_id: str, environment: Environment, tables: Tables) -> None:
        self.id = connection_id
        self.environment = environment
        self.tables = tables
        self.settings = SettingsStore(tables, connection_id, environment)
        self.health = HealthStore(tables, connection_id)
        self.runs = RunStore(tables, connection_id)
        self.cursors = CursorStore(tables, connection_id)
        self.groups = GroupStore(tables, connection_id)
        self.leases = LeaseStore(tables, connection_id)
        self.secrets = SecretStore(environment, connection_id)

    def links(self, kind: Kind) -> LinkStore:
        return LinkStore(self.tables, self.id, kind)

    async def open_graph(self, settings: Settings, health: Health) -> Graph:
        """Graph with the application's own credential; ``store.errors.SecretMissing`` without one."""
        microsoft = settings.microsoft
        proof = ""
        if microsoft.credential != "federated":
            proof = (await self._secret(_proof_name(settings), health)).value
        application = Application(
            tenant_id=microsoft.tenant_id,
            client_id=microsoft.client_id,
            authority=self.environment.entra_authority,
            kind=microsoft.credential,
            proof=proof,
            identity_client_id=self.environment.identity_client_id,
        )
        return Graph(self.environment.graph_base_url, ApplicationCredential(application))

    async def open_pbx(self, settings: Settings, health: Health) -> Pbx:
        """The PBX with the deployment's shared token; ``store.errors.SecretMissing`` without a secret."""
        secret = await self._secret("pbx-client-secret", health)
        credentials = Credentials(
            settings.pbx.client_id,
            secret.value,
            f"{settings.pbx.fqdn}|{settings.pbx.client_id}|{secret.version}",
        )

        async def current() -> Credentials:
            return credentials

        async def mark() -> str:
            return credentials.mark

        address = Address(settings.pbx.fqdn, settings.pbx.ca_certificate)
        pbx = Pbx(address, max_writes_per_second=settings.pbx.max_writes_per_second)
        pbx.sign_in_with(SharedToken(TokenStore(self.tables, self.id, "pbx"), current, mark, pbx.ask_token))
        return pbx

    async def secret_expiry(
        self, settings: Settings, graph: Graph, health: Health, now: datetime.datetime
    ) -> str | None:
        """When the credential in use ends, asked at most twice a day; ``None`` when not asked or not readable."""
        checked = health.secret_checked_at
        if settings.microsoft.credential == "federated":
            return None
        if checked is not None and now - datetime.datetime.fromisoformat(checked) < EXPIRY_CHECK:
            return None
        registration = await graph.app_registration(settings.microsoft.client_id)
        if registration is None:
            return None
        if settings.microsoft.credential == "certificate":
            ends = [key.end_date_time for key in registration.key_credentials]
        else:
            hint = (await self.secrets.read("entra-client-secret")).value[:3]
            ends = [key.end_date_time for key in registration.password_credentials if key.hint == hint]
        return max((end for end in ends if end), default=None)

    async def failed(self, policy: Policy, fault: Fault, now: datetime.datetime, run: Run) -> None:
        """Remember a failed run: when to try again, and whether an administrator has to be told. Told once: a reason
        that is known already keeps its time."""

        def change(health: Health) -> Health:
            failures = health.failures + 1
            pause = datetime.timedelta(minutes=RETRY_MINUTES[min(failures, len(RETRY_MINUTES)) - 1])
            needs_attention = policy != "retry" or failures >= ATTENTION_AFTER
            others = [reason for reason in health.reasons if side_of(reason.code) != side_of(fault.code)]
            earlier = next((reason for reason in health.reasons if reason.code == fault.code), None)
            since = earlier.since if earlier else now.isoformat(timespec="seconds")
            reason = Reason(fault.code, _sentence(fault.message, health, now), fault.action, since)
            # Something that changed while the run was under way may have asked for an earlier try.
            times = [(now + pause).isoformat(timespec="seconds"), *([health.retry_at] if health.retry_at else [])]
            return msgspec.structs.replace(
                health,
                failures=failures,
                reasons=[*others, reason] if needs_attention else health.reasons,
                retry_at=health.retry_at if run.preview else min(times),
                last_run=health.last_run if run.preview else run.id,
            )

        before = await self.health.load()
        after = await self.health.update(change)
        known = {reason.code for reason in before.reasons}
        for reason in after.reasons:
            if reason.code not in known:
                log.error("Attention needed: %s %s", reason.message, reason.action)

    async def try_again(self, now: datetime.datetime) -> None:
        """Have the next tick start a run that could not begin now."""
        stamp = now.isoformat(timespec="seconds")
        await self.health.update(lambda health: msgspec.structs.replace(health, retry_at=health.retry_at or stamp))

    async def recovered(self, stamp: str) -> None:
        """Forget the reasons that stopped runs: reading worked again. What waits for a decision stays."""

        def change(health: Health) -> Health:
            waiting = [reason for reason in health.reasons if reason.code.endswith("deletions_held")]
            return msgspec.structs.replace(health, reasons=waiting)

        before = await self.health.load()
        after = await self.health.update(change)
        if len(after.reasons) < len(before.reasons):
            log.info("Recovered at %s: the connection works again", stamp)

    async def secret_stored(self, name: SecretName, version: str) -> Health:
        """Remember that a secret is there, without asking the Key Vault for each status."""

        def change(health: Health) -> Health:
            return msgspec.structs.replace(
                health,
                secrets={**health.secrets, name: version},
                secret_checked_at=None if name.startswith("entra") else health.secret_checked_at,
                secret_expires_at=None if name.startswith("entra") else health.secret_expires_at,
                reasons=[reason for reason in health.reasons if side_of(reason.code) != side_of(name)]
                if name != "pbx-webhook-secret"
                else health.reasons,
            )

        return await self.health.update(change)

    async def _secret(self, name: SecretName, health: Health) -> Secret:
        secret = await self.secrets.read(name)
        if health.secrets.get(name) != secret.version:
            await self.secret_stored(name, secret.version)
        return secret


def _proof_name(settings: Settings) -> SecretName:
    return "entra-client-certificate" if settings.microsoft.credential == "certificate" else "entra-client-secret"


def needed_secrets(settings: Settings) -> list[SecretName]:
    """The secrets without which the connection cannot work."""
    names: list[SecretName] = [] if settings.microsoft.credential == "federated" else [_proof_name(settings)]
    return [*names, "pbx-client-secret"]


def side_of(code: str) -> str:
    """Which side of the connection a reason or a secret is about. A new fault of a side replaces its earlier one: it is
    the next thing to mend there."""
    if code.startswith(("entra", "graph")):
        return "microsoft"
    return "pbx" if code.startswith("pbx") else code


def _sentence(message: str, health: Health, now: datetime.datetime) -> str:
    """The fault as a sentence; an expired secret names its day when Graph told it before."""
    end = health.secret_expires_at
    if "AADSTS7000222" in message and end is not None and datetime.datetime.fromisoformat(end) < now:
        message = message.replace("has expired", f"expired on {end[:10]}")
    return f"{message[:1].upper()}{message[1:]}."
