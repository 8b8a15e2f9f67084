"""How the application proves itself to Entra, and what it says when Entra refuses."""

import asyncio
import datetime
import logging
import sys
import traceback

import msgspec
import psutil
import pytest
import time_machine
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from graph.aadsts import WORDS, from_entra
from graph.client import ATTEMPTS, Graph
from graph.credentials import Application, ApplicationCredential
from graph.errors import CredentialsRejected, Unavailable
from local.emulator import Fault
from local.microsoft import MicrosoftEmulator
from local.microsoft.apps import App, FederatedCredential, certificate_from_pem
from local.sample import (
    CLIENT_ID,
    CLIENT_SECRET,
    EXPIRED_CLIENT_SECRET,
    IDENTITY_CLIENT_ID,
    IDENTITY_HEADER,
    TENANT_ID,
)
from tests.graph.conftest import Open
from tests.graph.tenant import PEOPLE, fault, read, seen

TOKEN = "*/oauth2/v2.0/token"
UNKNOWN = "99999999-9999-4999-8999-999999999999"


def app_of(emulator: MicrosoftEmulator) -> App:
    return emulator.authority.apps[CLIENT_ID]


@pytest.fixture(scope="module")
def pem() -> str:
    """A certificate of the application with its private key."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bridge")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode() + private.decode()


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch, emulator: MicrosoftEmulator) -> None:
    """The managed identity of the function app is there."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{emulator.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", IDENTITY_HEADER)


# Signing in


async def test_a_client_secret_signs_in_once_for_many_reads(open_graph: Open, emulator: MicrosoftEmulator) -> None:
    reader = open_graph()
    await read(reader)
    await read(reader)
    requests = seen(emulator, "/token")
    assert len(requests) == 1
    assert "scope=https%3A%2F%2Fgraph.microsoft.com%2F.default" in requests[0].body


async def test_a_certificate_signs_in(open_graph: Open, emulator: MicrosoftEmulator, pem: str) -> None:
    app_of(emulator).certificates = [certificate_from_pem("key-1", pem)]
    users, _ = await read(open_graph(kind="certificate", proof=pem))
    assert len(users) == PEOPLE
    assert "client_assertion=" in seen(emulator, "/token")[0].body


async def test_a_managed_identity_signs_in_without_any_secret(
    open_graph: Open, emulator: MicrosoftEmulator, identity: None
) -> None:
    reader = open_graph(kind="federated", proof="", identity_client_id=IDENTITY_CLIENT_ID)
    users, _ = await read(reader)
    assert len(users) == PEOPLE
    assert len(seen(emulator, "/msi/token")) == 1
    assert "client_secret" not in seen(emulator, "/oauth2/v2.0/token")[0].body


@pytest.mark.parametrize("kind", ["secret", "federated"])
async def test_a_token_that_ended_is_renewed(
    open_graph: Open, emulator: MicrosoftEmulator, identity: None, kind: str
) -> None:
    proof = CLIENT_SECRET if kind == "secret" else ""
    reader = open_graph(kind=kind, proof=proof, identity_client_id=IDENTITY_CLIENT_ID)
    await read(reader)
    with time_machine.travel(datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)):
        users, _ = await read(reader)
    assert len(users) == PEOPLE
    assert len(seen(emulator, "/oauth2/v2.0/token")) == 2


# Refusals


@pytest.mark.parametrize(
    ("application", "expected"),
    [
        ({"proof": EXPIRED_CLIENT_SECRET}, ("entra_secret_expired", 7000222, "new client secret")),
        ({"proof": "Wrg~wrong-secret"}, ("entra_secret_wrong", 7000215, "new client secret")),
        ({"client_id": UNKNOWN}, ("entra_application_unknown", 700016, "Overview page")),
        ({"tenant_id": UNKNOWN}, ("entra_tenant_unknown", 90002, "Overview page")),
    ],
    ids=["expired secret", "wrong secret", "unknown application", "unknown tenant"],
)
async def test_a_refused_sign_in_has_words_and_an_action_and_is_never_repeated(
    open_graph: Open,
    emulator: MicrosoftEmulator,
    application: dict[str, str],
    expected: tuple[str, int, str],
) -> None:
    code, number, advice = expected
    with pytest.raises(CredentialsRejected) as caught:
        await read(open_graph(**application))
    assert caught.value.code == code
    assert str(caught.value).endswith(f"(AADSTS{number})")
    assert "Trace ID" not in str(caught.value)
    assert advice in caught.value.action
    assert len(seen(emulator, "/token")) == 1
    assert seen(emulator) == []


async def test_a_certificate_that_is_not_registered_says_so(open_graph: Open, pem: str) -> None:
    with pytest.raises(CredentialsRejected) as caught:
        await read(open_graph(kind="certificate", proof=pem))
    assert caught.value.code == "entra_certificate_unknown"
    assert "public part" in caught.value.action


@pytest.mark.parametrize("proof", ["", "no PEM at all", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
async def test_a_stored_certificate_that_is_none_is_unusable(open_graph: Open, proof: str) -> None:
    with pytest.raises(CredentialsRejected, match="certificate is unusable"):
        await read(open_graph(kind="certificate", proof=proof))


async def test_a_certificate_without_its_key_is_unusable(open_graph: Open, pem: str) -> None:
    public = pem.partition("-----BEGIN PRIVATE")[0]
    with pytest.raises(CredentialsRejected, match="certificate and its private key"):
        await read(open_graph(kind="certificate", proof=public))


async def test_an_empty_secret_is_unusable(open_graph: Open) -> None:
    with pytest.raises(CredentialsRejected, match="secret is unusable"):
        await read(open_graph(proof=""))


@pytest.mark.parametrize("kind", ["secret", "certificate", "federated"])
@pytest.mark.parametrize("names", [{"tenant_id": "not a tenant!"}, {"tenant_id": ""}, {"client_id": ""}])
async def test_ids_that_cannot_be_are_told_apart_from_the_secret(
    open_graph: Open, kind: str, names: dict[str, str]
) -> None:
    with pytest.raises(CredentialsRejected) as caught:
        await read(open_graph(kind=kind, **names))
    assert caught.value.code == "entra_ids_malformed"
    assert "Overview page" in caught.value.action


async def test_an_authority_without_encryption_gets_no_secret(open_graph: Open) -> None:
    with pytest.raises(CredentialsRejected, match="https"):
        await read(open_graph(authority="http://localhost:9"))


async def test_a_managed_identity_that_is_not_trusted_says_what_to_compare(
    open_graph: Open, emulator: MicrosoftEmulator, identity: None
) -> None:
    known = app_of(emulator).federated[0]
    app_of(emulator).federated = [
        FederatedCredential(name="other", issuer=known.issuer, subject="another-principal", audience=known.audience)
    ]
    with pytest.raises(CredentialsRejected) as caught:
        await read(open_graph(kind="federated", proof="", identity_client_id=IDENTITY_CLIENT_ID))
    assert caught.value.code == "entra_federation_mismatch"
    assert "subject" in caught.value.action


async def test_a_managed_identity_that_does_not_exist_says_so(
    open_graph: Open, emulator: MicrosoftEmulator, identity: None
) -> None:
    with pytest.raises(CredentialsRejected) as caught:
        await read(open_graph(kind="federated", proof="", identity_client_id=UNKNOWN))
    assert "managed identity" in str(caught.value)
    assert "managed identity" in caught.value.action
    assert seen(emulator, "/oauth2/v2.0/token") == []


async def test_a_host_without_managed_identity_says_so(
    open_graph: Open, monkeypatch: pytest.MonkeyPatch, emulator: MicrosoftEmulator
) -> None:
    monkeypatch.delenv("IDENTITY_ENDPOINT", raising=False)
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://localhost:9")
    with pytest.raises(CredentialsRejected, match="managed identity"):
        await read(open_graph(kind="federated", proof=""))


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_managed_identity_that_fails_for_a_while_is_unavailable(
    open_graph: Open, emulator: MicrosoftEmulator, identity: None, status: int
) -> None:
    emulator.faults.append(fault(path="/msi/token", status=status, times=None))
    with pytest.raises(Unavailable, match="managed identity"):
        await read(open_graph(kind="federated", proof="", identity_client_id=IDENTITY_CLIENT_ID))


# Bad days of the token endpoint


@pytest.mark.parametrize(
    "planted",
    [
        fault(path=TOKEN, status=503, times=None),
        fault(path=TOKEN, status=500, body="<html>", times=None),
        fault(path=TOKEN, status=429, body={"error": "temporarily_unavailable"}, times=None),
        fault("drop", path=TOKEN, times=None),
        fault("truncate", path=TOKEN, bytes=20, times=None),
        fault(path=TOKEN, status=200, body="<html>", times=None),
        fault(
            path=TOKEN,
            status=200,
            body='{"access_token": "ey',
            headers={"Content-Type": "application/json"},
            times=None,
        ),
        fault(path=TOKEN, status=200, body={"token_type": "Bearer"}, times=None),
        fault(path=TOKEN, status=200, body=[], times=None),
    ],
    ids=["503", "500", "429", "drop", "truncate", "html", "half a JSON", "no token", "a list"],
)
async def test_a_token_endpoint_that_fails_is_unavailable_after_bounded_attempts(
    open_graph: Open, emulator: MicrosoftEmulator, planted: Fault, pauses: list[float]
) -> None:
    emulator.faults.append(msgspec.structs.replace(planted))
    with pytest.raises(Unavailable, match="Entra"):
        await read(open_graph())
    assert len(seen(emulator, "/token")) <= ATTEMPTS
    assert len(pauses) == ATTEMPTS - 1


async def test_a_token_endpoint_that_is_back_is_used(open_graph: Open, emulator: MicrosoftEmulator) -> None:
    emulator.faults.append(fault(path=TOKEN, status=503, times=2))
    users, _ = await read(open_graph())
    assert len(users) == PEOPLE


async def test_an_entra_that_is_not_there_is_unavailable(open_graph: Open) -> None:
    with pytest.raises(Unavailable, match="Entra"):
        await read(open_graph(authority="https://localhost:9"))


# Words


def test_what_entra_says_is_never_passed_on_only_its_number() -> None:
    error = from_entra("AADSTS50034: the account noor@contoso.example with token ey.hush does not exist", 400)
    assert isinstance(error, CredentialsRejected)
    assert str(error) == "Entra refuses to sign the application in (AADSTS50034)"


@pytest.mark.parametrize(
    ("status", "kind"), [(503, Unavailable), (429, Unavailable), (None, Unavailable), (400, CredentialsRejected)]
)
def test_without_a_number_the_status_decides(status: int | None, kind: type[Exception]) -> None:
    assert type(from_entra("something else", status)) is kind


def test_every_known_number_has_a_code_words_and_an_action() -> None:
    for number, (code, words, action) in WORDS.items():
        assert code.startswith(("entra_", "graph_")), number
        assert words[0].islower() or words.startswith("Entra"), number
        assert action.endswith("."), number


# Secrets stay secret


async def test_secrets_and_tokens_are_in_no_log_no_exception_and_no_repr(
    open_graph: Open, emulator: MicrosoftEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("azure", "azure.core", "azure.identity", "httpx", "httpcore", "aiohttp", "msal", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    reader = open_graph()
    _, link = await read(reader)
    await read(reader, link)
    told = [caplog.text, repr(reader), repr(reader._credential), repr(vars(reader._credential))]
    for application in ({"proof": EXPIRED_CLIENT_SECRET}, {"client_id": UNKNOWN}):
        with pytest.raises(CredentialsRejected) as caught:
            await read(open_graph(**application))
        told += ["".join(traceback.format_exception(caught.value)), repr(caught.value)]
        assert caught.value.__context__ is None or caught.value.__suppress_context__
    token = seen(emulator, "/v1.0/")[0].headers["Authorization"].removeprefix("Bearer ")
    text = "\n".join([*told, caplog.text])
    for secret in (CLIENT_SECRET, EXPIRED_CLIENT_SECRET, token, token.rsplit(".", 1)[1], link.partition("=")[2]):
        assert secret
        assert secret not in text


def test_the_proof_is_in_no_repr() -> None:
    application = Application(tenant_id="t", client_id="c", authority="https://x", kind="secret", proof="hush")
    assert "hush" not in f"{application} {application!r} {[application]}"


# What it costs


READ_EVERYTHING = """
import asyncio, sys
from graph.client import Graph
from graph.credentials import Application, ApplicationCredential
from graph.models import BASE_SELECT

assert "msgraph" not in sys.modules and "azure.identity" not in sys.modules, "imported before it is needed"

async def main(url, tenant, client, secret, group):
    application = Application(tenant_id=tenant, client_id=client, authority=url, kind="secret", proof=secret)
    async with Graph(url + "/v1.0", ApplicationCredential(application)) as graph:
        users = [user.id async for page in graph.user_pages(BASE_SELECT) for user in page.value]
        await graph.user(users[0], BASE_SELECT)
        await graph.app_registration(client)
        members = [member async for member in graph.transitive_user_ids(group)]
        assert await graph.user("00000000-0000-4000-8000-000000000000", BASE_SELECT) is None
        assert [group async for page in graph.group_pages() for group in page.value]
        await graph.group(group)
        await graph.delete_subscription("00000000-0000-4000-8000-000000000000")
        assert await graph.subscriptions() == []
    print(len(users), len(members), "msgraph.generated.models.user" in sys.modules)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_the_expensive_models_of_the_sdk_are_never_imported(emulator: MicrosoftEmulator) -> None:
    from tests.graph.tenant import CROWD

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", READ_EVERYTHING, emulator.url, TENANT_ID, CLIENT_ID, CLIENT_SECRET, CROWD,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    assert output.decode().split() == [str(PEOPLE), str(PEOPLE), "False"], errors.decode()


async def test_a_gateway_that_was_never_used_closes_without_a_request(emulator: MicrosoftEmulator) -> None:
    application = Application(tenant_id="t", client_id="c", authority=emulator.url, kind="secret", proof="s")
    async with Graph(f"{emulator.url}/v1.0", ApplicationCredential(application)):
        pass
    assert emulator.requests == []


async def test_closing_leaves_no_connection_open(open_graph: Open, emulator: MicrosoftEmulator) -> None:
    before = open_sockets()
    reader = open_graph()
    await read(reader)
    assert open_sockets() > before
    await reader.close()
    await asyncio.sleep(0)
    assert open_sockets() == before


def open_sockets() -> int:
    """Connections of this process to servers on loopback, seen from the client's side or waiting there."""
    return sum(item.status == "ESTABLISHED" for item in psutil.Process().net_connections("tcp")) // 2


async def test_a_gateway_may_be_closed_twice_and_used_again(open_graph: Open) -> None:
    reader = open_graph()
    await read(reader)
    await reader.close()
    await reader.close()
    users, _ = await read(reader)
    assert len(users) == PEOPLE
