"""A desk for each test: a tenant, a PBX, and presence between them."""

from collections.abc import AsyncIterator

import pytest

from local.azurite import Azurite
from local.microsoft.keys import KeyRing
from local.tls import ServerCertificate
from presence import intake
from tests.conftest import AUTHORITY
from tests.engine.world import empty_world
from tests.presence.desk import Desk

PATIENCE = 30.0


@pytest.fixture(scope="session")
def certificate() -> ServerCertificate:
    return AUTHORITY.issue("presence")


@pytest.fixture(scope="session")
def signing_keys() -> list[dict[str, str]]:
    """Made once: an RSA key for each test would cost more than the tests."""
    return KeyRing().state()


@pytest.fixture
async def desk(
    azurite: Azurite,
    certificate: ServerCertificate,
    signing_keys: list[dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Desk]:
    """Presence is on; nobody is there yet. The machine is shared: what is answered after how long is for the tests that
    ask for it."""
    monkeypatch.setattr(intake, "RECORD_SECONDS", PATIENCE)
    monkeypatch.setattr(intake, "ANSWER_SECONDS", PATIENCE)
    async with empty_world(azurite, certificate, signing_keys) as world:
        desk = Desk(world)
        await desk.open()
        try:
            yield desk
        finally:
            await desk.close()
