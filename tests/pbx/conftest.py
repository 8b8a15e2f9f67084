"""An emulated PBX behind https, and clients that share the deployment's token through real storage."""

import uuid
from collections.abc import AsyncIterator

import pytest
import tenacity

from local.azurite import Azurite
from local.pbx.emulator import PbxEmulator
from local.pbx.groups import Group
from local.pbx.groups import GroupMember as Member
from local.tls import ServerCertificate
from pbx import client
from store.environment import Environment, StorageAccount
from store.tables import Tables, open_tables
from store.tokens import TokenStore
from tests.conftest import AUTHORITY
from tests.pbx.support import CLIENT_ID, CLIENT_SECRET, MemoryText, Office


@pytest.fixture(scope="session")
def certificate() -> ServerCertificate:
    """Of the authority that this process trusts."""
    return AUTHORITY.issue("pbx-gateway")


@pytest.fixture
async def emulator(certificate: ServerCertificate) -> AsyncIterator[PbxEmulator]:
    """A PBX with three extensions and the group Support of two of them."""
    rows = [
        {"id": 1, "number": "1000", "first_name": "Ada", "email_addr": "ada@example.com", "title": "Countess"},
        {"id": 2, "number": "1001", "first_name": "Bob", "email_addr": "bob@example.com"},
        {"id": 7, "number": "10", "first_name": "Cy"},
    ]
    made = PbxEmulator(rows, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    made.machine.groups.add(Group(id=2, name="Support", members=(Member(1, "manager"), Member(2))))
    async with await made.start(certificate):
        yield made


@pytest.fixture
async def office(emulator: PbxEmulator) -> AsyncIterator[Office]:
    """The emulator, clients of it that share one token in memory, and a clock."""
    made = Office(emulator, MemoryText())
    yield made
    await made.close()
    assert emulator.violations.found == [], "the client has to keep to the vendor's documents"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repetitions follow each other at once."""
    monkeypatch.setattr(client, "wait_random_exponential", lambda **_: tenacity.wait_none())


@pytest.fixture
async def tables(azurite: Azurite) -> AsyncIterator[Tables]:
    opened = open_tables(Environment(storage=StorageAccount(connection_string=azurite.connection_string)))
    yield opened
    await opened.close()


@pytest.fixture
def shared(tables: Tables) -> TokenStore:
    """The shared token of a connection of this test alone, in real storage."""
    return TokenStore(tables, uuid.uuid4().hex, "pbx")
