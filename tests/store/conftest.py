"""Tables in the Azurite of all tests, a storage account that does not answer, and a Key Vault."""

import socket
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from azure.data.tables.aio import TableServiceClient

from local import sample
from local.azurite import ACCOUNT, KEY, Azurite
from local.microsoft import MicrosoftEmulator
from local.tls import ServerCertificate
from store.environment import Environment, StorageAccount
from store.tables import Tables, open_tables
from tests.conftest import AUTHORITY


@pytest.fixture
async def tables(azurite: Azurite) -> AsyncIterator[Tables]:
    opened = open_tables(
        Environment(storage=StorageAccount(connection_string=azurite.connection_string)),
    )
    yield opened
    await opened.close()


@pytest.fixture
def connection() -> str:
    """A connection, or partition, of this test alone."""
    return f"c{uuid.uuid4().hex[:12]}"


@pytest.fixture
def new_table() -> str:
    """The name of a table that does not exist yet."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that is taken, so that nobody else gets it, and refuses every connection."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
async def dead_tables(dead_port: int) -> AsyncIterator[Tables]:
    """A storage account that cannot be reached, without the retries that would make the tests slow."""
    url = f"http://127.0.0.1:{dead_port}/{ACCOUNT}"
    text = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};TableEndpoint={url};"
    dead = Tables(TableServiceClient.from_connection_string(text, retry_total=0))
    yield dead
    await dead.close()


@pytest.fixture(scope="session")
def certificate() -> ServerCertificate:
    """Of the authority that this process trusts."""
    return AUTHORITY.issue("store-vault")


@pytest.fixture
async def microsoft(
    certificate: ServerCertificate, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MicrosoftEmulator]:
    """Key Vault and the identity endpoint, and the environment that App Service gives a process with an identity."""
    async with await MicrosoftEmulator(sample.Tenant(users=())).start(certificate) as emulator:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{emulator.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", sample.IDENTITY_HEADER)
        yield emulator
