"""Tries a connection before it is saved: the application in its tenant, and the API of the PBX. Nothing is stored but
the count of sign-ins that the PBX rejected."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from graph.client import Graph
from graph.credentials import Application, ApplicationCredential
from graph.errors import GraphError, Unavailable
from pbx.address import Address
from pbx.client import Pbx
from pbx.errors import CredentialsRejected, PbxError, ServerFault, Unreachable
from pbx.models import Answer, Capacity, Information, TokenAnswer
from pbx.tokens import Credentials, SharedToken
from store.document import Pbx as PbxSettings
from store.document import Settings
from store.errors import SecretMissing, StoreError
from store.secrets import SecretName
from store.tokens import TokenStore
from sync.connection import TRIAL_SECONDS, Connection
from sync.faults import explain

PBX_SECONDS = 25.0
"""So long somebody waits for the PBX's opinion."""
REJECTIONS = 3
"""The PBX blocks our address after 5 failed sign-ins, and with it the saved connection: tests leave two of them."""
REJECTIONS_SECONDS = 900.0
"""How long a rejected sign-in counts; clients of the PBX see a block of about 10 minutes."""
UNCLEAR = frozenset({-2, 2})
"""Answers to a sign-in that may be a wrong secret as well as a fault of the PBX."""
TOKEN_EXPIRED = 10004


class Trouble(Exception):
    """Something asked of Entra, Graph or the PBX did not work: what is wrong, and what to do about it."""

    def __init__(self, code: str, message: str, action: str = "") -> None:
        super().__init__(message)
        self.code = code
        """For machines; stable."""
        self.message = message
        """A sentence for people."""
        self.action = action
        """A sentence too; empty when there is nothing to do."""


class MicrosoftTested(msgspec.Struct, frozen=True, kw_only=True):
    """The application signed in."""

    tenant_id: str
    """The tenant's object id, also where the settings name a domain."""
    tenant_name: str
    """Empty when the application may not read it (Organization.Read.All)."""
    permissions: list[str]
    """Application permissions with consent, as the token's ``roles`` claim has them."""


class PbxTested(msgspec.Struct, frozen=True, kw_only=True):
    """The PBX took the client id and secret, and its API answers."""

    model: str
    firmware: str
    serial: str
    extension_capacity: int | None
    """``None`` when this firmware does not say."""
    extension_used: int | None


async def test_microsoft(connection: Connection, settings: Settings, name: SecretName, value: str) -> MicrosoftTested:
    """Sign in to the tenant of ``settings`` with the secret or certificate ``value``; an empty one stands for what is
    stored under ``name``, and a federated credential needs none. ``Trouble`` when it does not work."""
    microsoft = settings.microsoft
    _require({"the tenant id": microsoft.tenant_id, "the client id": microsoft.client_id})
    with translated():
        proof = "" if microsoft.credential == "federated" else value or (await connection.secrets.read(name)).value
        application = Application(
            tenant_id=microsoft.tenant_id,
            client_id=microsoft.client_id,
            authority=connection.environment.entra_authority,
            kind=microsoft.credential,
            proof=proof,
            identity_client_id=connection.environment.identity_client_id,
        )
        async with Graph(connection.environment.graph_base_url, ApplicationCredential(application)) as graph:
            return await _seen(graph)


async def _seen(graph: Graph) -> MicrosoftTested:
    """The proof is the token. The tenant's name is only good to know: it may be missing."""
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            tenant_id, permissions = await graph.tenant_id(), await graph.permissions()
    except TimeoutError:
        raise Unavailable("Entra's token service does not answer") from None
    name = ""
    with contextlib.suppress(GraphError, TimeoutError):
        async with asyncio.timeout(TRIAL_SECONDS):
            name = await graph.tenant_name()
    return MicrosoftTested(tenant_id=tenant_id, tenant_name=name, permissions=permissions)


async def test_pbx(
    connection: Connection, pbx_settings: PbxSettings, secret: str, *, now: Callable[[], float]
) -> PbxTested:
    """Sign in to a PBX once, read what it is, and give the token back. The token and the breaker of the saved
    connection are left alone.

    ``secret`` is the Client Secret; an empty one stands for the stored one. ``now`` is in seconds since the epoch.
    ``Trouble`` when it does not work, and without asking the PBX after three rejected sign-ins within 15 minutes.
    """
    _require({"the FQDN of the PBX": pbx_settings.fqdn, "the Client ID of its API": pbx_settings.client_id})
    rejections = Rejections(TokenStore(connection.tables, connection.id, "pbx-tests"), now)
    with translated():
        secret = secret or (await connection.secrets.read("pbx-client-secret")).value
        await rejections.check(pbx_settings.fqdn)
        address = Address(pbx_settings.fqdn, pbx_settings.ca_certificate)
        try:
            async with asyncio.timeout(PBX_SECONDS), Pbx(address) as pbx:
                return await _tried(pbx, Credentials(pbx_settings.client_id, secret, "test"))
        except PbxError as error:
            if isinstance(error, CredentialsRejected) or error.errcode in UNCLEAR:
                await rejections.count(pbx_settings.fqdn)
            raise
        except TimeoutError:
            raise Unreachable("the PBX does not answer in time") from None


async def _tried(pbx: Pbx, credentials: Credentials) -> PbxTested:
    """Sign in, read, give the token back."""
    answer = await pbx.ask_token(
        "get_token", {"username": credentials.client_id, "password": credentials.client_secret}
    )

    async def same() -> Credentials:
        return credentials

    async def mark() -> str:
        return credentials.mark

    token = SharedToken(_Alone(), same, mark, _once(answer))
    await token.get()
    pbx.sign_in_with(token)
    try:
        return _described(await pbx.information(), await pbx.capacity())
    finally:
        with contextlib.suppress(PbxError):
            await pbx.read("del_token", {}, Answer)


def _described(information: Information, capacity: Capacity) -> PbxTested:
    return PbxTested(
        model=information.model_name,
        firmware=information.firmware_version,
        serial=information.sn,
        extension_capacity=capacity.extension_capacity,
        extension_used=capacity.extension_used,
    )


def _once(answer: TokenAnswer) -> Callable[[str, dict[str, str]], Awaitable[TokenAnswer]]:
    """What the PBX is asked for tokens with: the answer that is there already, and never another one."""
    answers = [answer]

    async def ask(path: str, body: dict[str, str]) -> TokenAnswer:
        if not answers:
            raise ServerFault("the PBX calls a token expired that it has just issued", TOKEN_EXPIRED)
        return answers.pop()

    return ask


class _Alone:
    """A token's state that is shared with nobody."""

    def __init__(self) -> None:
        self._text = ""

    async def read(self) -> tuple[str, str]:
        return self._text, ""

    async def swap(self, text: str, etag: str) -> str | None:
        self._text = text
        return etag


class _Rejected(msgspec.Struct, frozen=True):
    fqdn: str
    at: float
    """Seconds since the epoch."""


class Rejections:
    """Sign-ins of tests that a PBX rejected of late, counted over all instances."""

    def __init__(self, store: TokenStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    async def check(self, fqdn: str) -> None:
        """``Trouble`` when one more would bring the PBX near to blocking us."""
        recent = [one for one in (await self._load())[0] if one.fqdn == fqdn]
        if len(recent) >= REJECTIONS:
            minutes = 1 + int((recent[-REJECTIONS].at + REJECTIONS_SECONDS - self._now()) // 60)
            raise Trouble(
                "pbx_tests_exhausted",
                f"The PBX rejected {len(recent)} sign-ins within 15 minutes; five would make it block the bridge.",
                f"Compare the Client ID and the Client Secret with Integrations > API on the PBX, and test again in "
                f"{minutes} minutes.",
            )

    async def count(self, fqdn: str) -> None:
        """Note one more."""
        swapped = None
        while swapped is None:
            recent, etag = await self._load()
            text = msgspec.json.encode([*recent, _Rejected(fqdn, self._now())]).decode()
            swapped = await self._store.swap(text, etag)

    async def _load(self) -> tuple[list[_Rejected], str]:
        text, etag = await self._store.read()
        noted = msgspec.json.decode(text, type=list[_Rejected]) if text else []
        return [one for one in noted if one.at > self._now() - REJECTIONS_SECONDS], etag


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn the typed errors of the gateways and the store into ``Trouble``."""
    try:
        yield
    except (GraphError, PbxError, SecretMissing, StoreError) as error:
        _, fault = explain(error)
        message = f"{fault.message[:1].upper()}{fault.message[1:].rstrip('.')}."
        raise Trouble(fault.code, message, _by_hand(fault.action)) from error


def _by_hand(action: str) -> str:
    """What to do, for somebody who waits: here nothing is tried again by itself."""
    action = action.replace("The bridge does not try again before one of them changes.", "")
    return action.replace("The bridge tries again by itself.", "Try again in a moment.").strip()


def _require(values: dict[str, str]) -> None:
    missing = [name for name, value in values.items() if not value]
    if missing:
        words = " and ".join(missing)
        raise Trouble("incomplete", f"{words[:1].upper()}{words[1:]} is missing.", "Fill it in first.")
