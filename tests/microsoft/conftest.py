"""A running emulator with a small tenant, over https with a private authority."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from local.microsoft import MicrosoftEmulator
from local.microsoft.keys import KeyRing
from local.tls import CertificateAuthority, ServerCertificate
from tests.microsoft.subscriber import Subscriber
from tests.microsoft.support import Client, small_tenant


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def certificate(authority: CertificateAuthority) -> ServerCertificate:
    return authority.issue("microsoft")


@pytest.fixture(scope="session")
def signing_keys() -> list[dict[str, str]]:
    """Made once: an RSA key for each test would cost more than the tests."""
    return KeyRing().state()


@pytest.fixture
def ca_file(authority: CertificateAuthority) -> Path:
    return authority.certificate_file


@pytest.fixture
async def emulator(
    certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[MicrosoftEmulator]:
    made = MicrosoftEmulator(small_tenant())
    made.keys.load(signing_keys)
    async with await made.start(certificate):
        yield made


@pytest.fixture
async def client(emulator: MicrosoftEmulator, ca_file: Path) -> AsyncIterator[Client]:
    context = ssl.create_default_context(cafile=ca_file)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context), requote_redirect_url=False
    ) as session:
        yield Client(session, emulator)


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    made = await Subscriber().start()
    yield made
    await made.stop()
