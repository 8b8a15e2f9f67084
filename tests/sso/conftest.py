"""A deployment of its own for each test, at the emulator of Entra and Key Vault and in the Azurite of all tests."""

import uuid
from collections.abc import AsyncIterator

import aiohttp
import pytest

from local.azurite import Azurite
from local.microsoft import MicrosoftEmulator
from local.microsoft.keys import KeyRing
from local.sample import CLIENT_SECRET, IDENTITY_HEADER
from local.tls import ServerCertificate
from tests.conftest import AUTHORITY
from tests.microsoft.support import Client, small_tenant
from tests.sso.site import Site


@pytest.fixture(scope="session")
def certificate() -> ServerCertificate:
    return AUTHORITY.issue("sso")


@pytest.fixture(scope="session")
def signing_keys() -> list[dict[str, str]]:
    """Made once: an RSA key for each test would cost more than the tests."""
    return KeyRing().state()


@pytest.fixture
async def site(
    azurite: Azurite,
    certificate: ServerCertificate,
    signing_keys: list[dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Site]:
    microsoft = MicrosoftEmulator(small_tenant())
    microsoft.keys.load(signing_keys)
    async with await microsoft.start(certificate), aiohttp.ClientSession() as session:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{microsoft.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", IDENTITY_HEADER)
        made = Site(azurite, Client(session, microsoft), f"c{uuid.uuid4().hex[:12]}")
        await made.place.secrets.write("entra-client-secret", CLIENT_SECRET)
        yield made
        await made.close()
