"""A world for each test: the sample tenant, the sample PBX, and a connection of its own in the shared Azurite."""

from collections.abc import AsyncIterator

import pytest

from local.azurite import Azurite
from local.microsoft import MicrosoftEmulator
from local.microsoft.keys import KeyRing
from local.pbx.emulator import PbxEmulator
from local.sample import sample_extensions, sample_tenant
from local.tls import ServerCertificate
from tests.conftest import AUTHORITY
from tests.engine.world import PBX_CLIENT_ID, PBX_SECRET, World


@pytest.fixture(scope="session")
def certificate() -> ServerCertificate:
    return AUTHORITY.issue("engine")


@pytest.fixture(scope="session")
def signing_keys() -> list[dict[str, str]]:
    """Made once: an RSA key for each test would cost more than the tests."""
    return KeyRing().state()


@pytest.fixture
async def world(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[World]:
    microsoft = MicrosoftEmulator(sample_tenant())
    microsoft.keys.load(signing_keys)
    pbx = PbxEmulator(sample_extensions(), client_id=PBX_CLIENT_ID, client_secret=PBX_SECRET)
    async with await microsoft.start(certificate), await pbx.start(certificate):
        world = World(azurite, microsoft, pbx)
        try:
            yield world
        finally:
            await world.close()
