"""A site for each test: the console before the sample tenant and the sample PBX, or before an empty pair."""

from collections.abc import AsyncIterator

import pytest

from local.azurite import Azurite
from local.microsoft import MicrosoftEmulator
from local.microsoft.keys import KeyRing
from local.pbx.emulator import PbxEmulator
from local.sample import sample_extensions, sample_tenant
from local.tls import ServerCertificate
from tests.conftest import AUTHORITY
from tests.console.site import Site
from tests.engine.world import PBX_CLIENT_ID, PBX_SECRET, World, empty_world


@pytest.fixture(scope="session")
def certificate() -> ServerCertificate:
    return AUTHORITY.issue("console")


@pytest.fixture(scope="session")
def signing_keys() -> list[dict[str, str]]:
    """Made once: an RSA key for each test would cost more than the tests."""
    return KeyRing().state()


@pytest.fixture
async def site(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[Site]:
    """A browser without a session; the tenant and the PBX are empty. Nothing is stored yet."""
    async with empty_world(azurite, certificate, signing_keys) as world:
        site = Site(world)
        await site.open()
        yield site


@pytest.fixture
async def sample_site(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[Site]:
    """The same before the sample tenant and the sample PBX, large and awkward."""
    microsoft = MicrosoftEmulator(sample_tenant())
    microsoft.keys.load(signing_keys)
    pbx = PbxEmulator(sample_extensions(), client_id=PBX_CLIENT_ID, client_secret=PBX_SECRET)
    async with await microsoft.start(certificate), await pbx.start(certificate):
        world = World(azurite, microsoft, pbx)
        try:
            site = Site(world)
            await site.open()
            yield site
        finally:
            await world.close()
