"""A PBX with room for twenty extensions behind real https, and a client that is logged in."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local.pbx.emulator import PbxEmulator
from local.pbx.journal import ENVIRONMENT
from local.tls import CertificateAuthority, ServerCertificate
from tests.pbx_emulator.api import CLIENT_ID, CLIENT_SECRET, Api

ADA = {"id": 1, "number": "1000", "first_name": "Ada", "last_name": "Lovelace", "email_addr": "ada@example.com"}
BOB = {"id": 2, "number": "1001", "first_name": "Bob", "last_name": "Boyle", "mobile_number": "+491511234567"}
CY = {"id": 5, "number": "20", "title": "Guard"}


@pytest.fixture(autouse=True)
def _no_shared_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests send wrong requests on purpose: they stay out of a journal that the environment names."""
    monkeypatch.delenv(ENVIRONMENT, raising=False)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("pbx-tls"))


@pytest.fixture(scope="session")
def certificate(authority: CertificateAuthority) -> ServerCertificate:
    return authority.issue("pbx")


@pytest.fixture(scope="session")
def trust(authority: CertificateAuthority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.certificate_file)


@pytest.fixture
async def pbx(certificate: ServerCertificate) -> AsyncIterator[PbxEmulator]:
    emulator = PbxEmulator([ADA, BOB, CY], client_id=CLIENT_ID, client_secret=CLIENT_SECRET, capacity=20)
    async with await emulator.start(certificate):
        yield emulator


@pytest.fixture
async def stranger(pbx: PbxEmulator, trust: ssl.SSLContext) -> AsyncIterator[Api]:
    """A client without a token."""
    async with Api(pbx, trust) as client:
        yield client


@pytest.fixture
async def api(stranger: Api) -> Api:
    return await stranger.login()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"
