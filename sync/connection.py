"""One connection, tenant and PBX: its stores, and gateways opened with its settings and secrets."""

import asyncio
import base64
import datetime
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from graph.client import Graph
from graph.credentials import Application, ApplicationCredential
from graph.errors import Unavailable
from graph.models import KeyCredential
from pbx.address import Address
from pbx.client import Pbx
from pbx.tokens import Credentials, SharedToken
from store.cursors import CursorStore
from store.document import Settings
from store.environment import Environment
from store.groups import GroupStore
from store.health import SIGN_IN_NEEDED, Health, HealthStore, Reason, Removal
from store.leases import LeaseStore
from store.links import Kind, LinkStore
from store.runs import Fault, Run, RunStore
from store.secrets import Secret, SecretName, SecretStore
from store.settings import SettingsStore
from store.tables import Tables
from store.tokens import TokenStore
from sync.faults import Policy

log = logging.getLogger("sync")

TRIAL_SECONDS = 10.0
"""So long somebody who stores a credential waits for Entra's opinion of it."""
EXPIRY_CHECK = datetime.timedelta(hours=12)
RETRY_MINUTES = (5, 10, 20, 40, 60)
"""Pauses before a failed run is tried again; the last one repeats."""
GROUPS_UNAVAILABLE = "groups_unavailable"
"""The reason for attention where the firmware has no extension groups."""
REMOVAL_INCOMPLETE = "removal_incomplete"
"""The reason for attention while the PBX does not delete what an administrator wants deleted."""
STANDING = frozenset({REMOVAL_INCOMPLETE, GROUPS_UNAVAILABLE, SIGN_IN_NEEDED})
OF_PRESENCE = "presence_"
"""How the codes of what keeps presence from working begin."""
ATTENTION_AFTER = 3
"""So many failures in a row that pass by themselves, and an administrator is told all the same."""


type Parting = Callable[["Connection"], Awaitable[list[str]]]
"""Ends elsewhere what other rooms began for a connection, before it is forgotten; answers what could not be ended, for
people."""


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
        self.parting: Parting | None = None

    def links(self, kind: Kind) -> LinkStore:
        return LinkStore(self.tables, self.id, kind)

    async def open_graph(self, settings: Settings, health: Health) -> Graph:
        """Graph with the application's own credential; ``store.errors.SecretMissing`` without one."""
        microsoft = settings.microsoft
        proof = ""
        if microsoft.credential != "federated":
            proof = (await self._secret(_proof_name(settings), health)).value
        return Graph(self.environment.graph_base_url, ApplicationCredential(self._application(settings, proof)))

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
        proof = (await self.secrets.read(_proof_name(settings))).value
        if settings.microsoft.credential == "certificate":
            return _certificate_end(proof, [] if registration is None else registration.key_credentials)
        if registration is None:
            return None
        ends = [key.end_date_time for key in registration.password_credentials if key.hint == proof[:3]]
        return max((end for end in ends if end), default=None)

    async def try_proof(self, settings: Settings, name: SecretName, value: str) -> bool:
        """Sign in to the tenant with a new secret or certificate, before it takes the place of the old one.

        ``False`` when it cannot be tried: the ids are missing, or the settings use another kind of credential. Raises
        ``graph.errors.Stop`` when Entra rejects it and ``Retry`` when Entra cannot be asked.
        """
        microsoft = settings.microsoft
        is_used = microsoft.credential != "federated" and name == _proof_name(settings)
        if not is_used or not microsoft.tenant_id or not microsoft.client_id:
            return False
        application = self._application(settings, value)
        async with Graph(self.environment.graph_base_url, ApplicationCredential(application)) as graph:
            try:
                async with asyncio.timeout(TRIAL_SECONDS):
                    await graph.tenant_id()
            except TimeoutError:
                raise Unavailable("Entra's token service does not answer") from None
        return True

    def _application(self, settings: Settings, proof: str) -> Application:
        microsoft = settings.microsoft
        return Application(
            tenant_id=microsoft.tenant_id,
            client_id=microsoft.client_id,
            authority=self.environment.entra_authority,
            kind=microsoft.credential,
            proof=proof,
            identity_client_id=self.environment.identity_client_id,
        )

    async def failed(self, policy: Policy, fault: Fault, now: datetime.datetime, run: Run) -> None:
        """Remember a failed run: when to try again, and whether an administrator has to be told. Told once: a reason
        that is known already keeps its time."""

        def change(health: Health) -> Health:
            if run.task == "remove":
                return health if run.preview else _not_removed(health, policy, fault, run, now)
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

        await self.tell(change)

    async def tell(self, change: Callable[[Health], Health]) -> Health:
        """Change the memory, and log each reason for attention that was not there before."""
        before = await self.health.load()
        after = await self.health.update(change)
        known = {reason.code for reason in before.reasons}
        for reason in after.reasons:
            if reason.code not in known:
                log.error("Attention needed: %s %s", reason.message, reason.action)
        return after

    async def try_again(self, now: datetime.datetime) -> None:
        """Have the next tick start a run that could not begin now."""
        stamp = now.isoformat(timespec="seconds")
        await self.health.update(lambda health: msgspec.structs.replace(health, retry_at=health.retry_at or stamp))

    async def recovered(self, stamp: str) -> None:
        """Forget the reasons that stopped runs: reading worked again. What waits for a decision stays."""

        def change(health: Health) -> Health:
            waiting = [reason for reason in health.reasons if is_standing(reason.code)]
            return msgspec.structs.replace(health, reasons=waiting)

        before = await self.health.load()
        after = await self.health.update(change)
        if len(after.reasons) < len(before.reasons):
            log.info("Recovered at %s: the connection works again", stamp)

    async def secret_stored(self, name: SecretName, version: str) -> Health:
        """Remember that a secret is there, without asking the Key Vault for each status."""

        def change(health: Health) -> Health:
            removal = health.removal
            if removal is not None and name.startswith("pbx"):
                removal = msgspec.structs.replace(removal, next_try_at="")  # it may have waited for this secret
            return msgspec.structs.replace(
                health,
                removal=removal,
                secrets={**health.secrets, name: version},
                secret_checked_at=None if name.startswith("entra") else health.secret_checked_at,
                secret_expires_at=None if name.startswith("entra") else health.secret_expires_at,
                expiry_told=0 if name.startswith("entra") else health.expiry_told,
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


def is_standing(code: str) -> bool:
    """Whether a reason stays although runs work: it waits for a decision, for the PBX to delete something, for a
    firmware that can do what is wanted, for somebody to sign in, or it is about presence, which no run looks at."""
    is_of_others = code.startswith(OF_PRESENCE)
    return code.endswith("deletions_held") or is_of_others or code in STANDING


def later(removal: Removal, now: datetime.datetime) -> Removal:
    """The same removal, to be tried again after a pause that grows."""
    failures = removal.failures + 1
    pause = datetime.timedelta(minutes=RETRY_MINUTES[min(failures, len(RETRY_MINUTES)) - 1])
    next_try = (now + pause).isoformat(timespec="seconds")
    return msgspec.structs.replace(removal, failures=failures, next_try_at=next_try)


def _not_removed(health: Health, policy: Policy, fault: Fault, run: Run, now: datetime.datetime) -> Health:
    """The memory after a failed run that deletes. Its next try is another one than that of a sync."""
    removal = None if health.removal is None else later(health.removal, now)
    if policy == "retry" and (removal is None or removal.failures < ATTENTION_AFTER):
        return msgspec.structs.replace(health, removal=removal)
    others = [reason for reason in health.reasons if reason.code != REMOVAL_INCOMPLETE]
    return msgspec.structs.replace(health, removal=removal, reasons=[*others, _unremoved(health, fault, run, now)])


def _unremoved(health: Health, fault: Fault, run: Run, now: datetime.datetime) -> Reason:
    earlier = next((reason for reason in health.reasons if reason.code == REMOVAL_INCOMPLETE), None)
    what = "The connection could not be ended" if run.started_by == "disconnect" else "The deletion was not finished"
    return Reason(
        REMOVAL_INCOMPLETE,
        f"{what}: {fault.message.rstrip('.')}.",
        f"{fault.action} It is tried again by itself.".strip(),
        earlier.since if earlier else now.isoformat(timespec="seconds"),
    )


def _certificate_end(pem: str, registered: Sequence[KeyCredential]) -> str | None:
    """When the certificate in use ends: as the app registration has it under the certificate's thumbprint, else as the
    certificate says itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return None
    thumbprint = certificate.fingerprint(hashes.SHA1())  # noqa: S303 - it is Entra's name for the certificate
    names = {thumbprint.hex().upper(), base64.b64encode(thumbprint).decode()}
    ends = [key.end_date_time for key in registered if key.custom_key_identifier in names]
    return next((end for end in ends if end), certificate.not_valid_after_utc.isoformat(timespec="seconds"))


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
