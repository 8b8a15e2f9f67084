"""Whom the client trusts: never anybody it cannot verify."""

import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import time_machine

from local import tls
from local.pbx.emulator import PbxEmulator
from local.tls import CertificateAuthority, ServerCertificate
from pbx.address import Address
from pbx.errors import Unreachable, Untrusted
from tests.pbx.support import CLIENT_ID, CLIENT_SECRET, MemoryText, Office

type Start = Callable[[ServerCertificate], Awaitable[Office]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a PBX with the given certificate."""
    offices: list[Office] = []

    async def made(certificate: ServerCertificate) -> Office:
        emulator = await PbxEmulator(client_id=CLIENT_ID, client_secret=CLIENT_SECRET).start(certificate)
        offices.append(Office(emulator, MemoryText()))
        return offices[-1]

    yield made
    for office in offices:
        await office.close()
        await office.emulator.stop()


@pytest.fixture
def stranger(tmp_path: Path) -> CertificateAuthority:
    """An authority that nothing on this machine trusts."""
    return CertificateAuthority(tmp_path / "stranger")


def address(office: Office, pem: str | None = None, host: str = "localhost") -> Address:
    return Address(office.emulator.url.removeprefix("https://").replace("localhost", host), pem)


async def ask(office: Office, pem: str | None = None, host: str = "localhost") -> None:
    await office.client(address=address(office, pem, host)).capacity()


async def test_a_private_authority_is_trusted_by_its_certificate(start: Start, stranger: CertificateAuthority) -> None:
    office = await start(stranger.issue("pbx"))
    await ask(office, stranger.certificate_file.read_text())


async def test_an_authority_may_stand_among_others_and_remarks(
    start: Start, stranger: CertificateAuthority, tmp_path: Path
) -> None:
    office = await start(stranger.issue("pbx"))
    other = CertificateAuthority(tmp_path / "other").certificate_file.read_text()
    await ask(office, f"Größe: Zürich CA\r\n{other}\n# unsere\n{stranger.certificate_file.read_text()}\n")


async def test_the_certificate_of_an_appliance_vouches_for_itself(start: Start, tmp_path: Path) -> None:
    own = tls.self_signed(tmp_path, "appliance", "localhost")
    office = await start(own)
    await ask(office, own.certificate.read_text())


async def test_an_authority_of_the_environment_still_counts_beside_a_pasted_one(
    start: Start, certificate: ServerCertificate, stranger: CertificateAuthority
) -> None:
    office = await start(certificate)
    await ask(office, stranger.certificate_file.read_text())


async def test_an_unknown_authority_is_not_trusted(
    start: Start, stranger: CertificateAuthority, tmp_path: Path
) -> None:
    office = await start(stranger.issue("pbx"))
    other = CertificateAuthority(tmp_path / "other").certificate_file.read_text()
    for pem in (None, other):
        with pytest.raises(Untrusted, match="cannot be verified"):
            await ask(office, pem)
    assert office.sent() == []


async def test_a_self_signed_certificate_nobody_pasted_is_not_trusted(start: Start, tmp_path: Path) -> None:
    office = await start(tls.self_signed(tmp_path, "appliance", "localhost"))
    another = tls.self_signed(tmp_path, "another", "localhost").certificate.read_text()
    for pem in (None, another):
        with pytest.raises(Untrusted):
            await ask(office, pem)
    assert office.sent() == []


async def test_a_certificate_of_another_name_is_not_trusted(start: Start, stranger: CertificateAuthority) -> None:
    office = await start(stranger.issue("pbx", ("pbx.example.com",)))
    with pytest.raises(Untrusted, match="localhost"):
        await ask(office, stranger.certificate_file.read_text())
    with pytest.raises(Untrusted, match="IP address"):
        await ask(office, stranger.certificate_file.read_text(), host="127.0.0.1")
    assert office.sent() == []


async def test_an_expired_certificate_is_not_trusted(start: Start, tmp_path: Path) -> None:
    with time_machine.travel(datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=60)):
        old = CertificateAuthority(tmp_path / "old")
        expired = old.issue("pbx")
        own = tls.self_signed(tmp_path, "own", "localhost")
    office = await start(expired)
    with pytest.raises(Untrusted, match="expired"):
        await ask(office, old.certificate_file.read_text())
    office = await start(own)
    with pytest.raises(Untrusted, match="expired"):
        await ask(office, own.certificate.read_text())


async def test_an_untrusted_pbx_is_asked_once(start: Start, stranger: CertificateAuthority) -> None:
    office = await start(stranger.issue("pbx"))
    pbx = office.client(address=address(office))
    with pytest.raises(Untrusted) as caught:
        await pbx.capacity()
    assert pbx.requests == 1
    assert "pbx.ca_certificate" in caught.value.action


@pytest.mark.parametrize(
    "pem", ["x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"]
)
async def test_a_pem_that_is_none_is_said_to_be_none(start: Start, stranger: CertificateAuthority, pem: str) -> None:
    office = await start(stranger.issue("pbx"))
    with pytest.raises(Untrusted, match="ca_certificate"):
        await ask(office, pem)


async def test_a_port_without_tls_is_unreachable() -> None:
    emulator = PbxEmulator(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    async with await emulator.start(None):
        office = Office(emulator, MemoryText())
        pbx = office.client(address=Address(emulator.url.removeprefix("http://")))
        with pytest.raises(Unreachable, match="TLS"):
            await pbx.capacity()
        await office.close()
    assert emulator.requests == []


@pytest.mark.parametrize(
    "fqdn", [f"{'a' * 64}.example.com", "nobody.invalid", "a..b", "", "pbx example com", "[::1", "pbx:99999", "пбх..рф"]
)
async def test_an_address_that_leads_nowhere_is_unreachable(office: Office, fqdn: str) -> None:
    with pytest.raises(Unreachable):
        await office.client(address=Address(fqdn), timeout=2).capacity()


def test_the_name_and_the_chain_are_verified_whatever_is_pasted(stranger: CertificateAuthority) -> None:
    for pem in (None, stranger.certificate_file.read_text()):
        context = Address("pbx.example.com", pem).tls()
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_the_address_keeps_its_port() -> None:
    assert Address("pbx.example.com:8088").base_url == "https://pbx.example.com:8088/openapi/v1.0"
