"""The authorization account: tokens that renew themselves, what ends them, and how it is mended."""

import asyncio
import datetime
import logging
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from graph.errors import CredentialsRejected, Unavailable
from local.emulator import Fault
from local.microsoft.apps import FederatedCredential, certificate_from_pem
from local.microsoft.registration import Consent
from local.sample import EXPIRED_CLIENT_SECRET, IDENTITY_PRINCIPAL_ID, TENANT_ID
from sso.account import access_token, forget_account, read_account
from sso.errors import NotSetUp, SignInNeeded
from sso.oauth import Tokens, refresh
from store.sessions import SessionStore
from tests.sso.site import NOOR, SEAN, Site, reason_codes

TOKEN = "*/oauth2/v2.0/token"


async def stored(site: Site) -> list[str]:
    """The refresh tokens in the Key Vault, oldest first."""
    found = [item for item in site.microsoft.vault.secrets.values() if item.name.endswith("refresh-token")]
    return [version.value for item in found for version in item.versions]


async def who(site: Site, token: str) -> str:
    """Whose token it is, as Graph sees it."""
    site.client.token = token
    answer = await site.client.graph("me")
    assert answer.status == 200, answer.text
    return str(answer.json["id"])


async def revoke(site: Site, person: str = NOOR) -> None:
    site.client.token = None
    assert (await site.client.control("POST", f"users/{person}/revoke")).status == 204


async def needed(site: Site) -> str:
    """Why a new sign-in is needed."""
    with pytest.raises(SignInNeeded) as caught:
        await site.token()
    assert caught.value.action
    return str(caught.value)


# Tokens


async def test_an_access_token_is_that_of_the_account(site: Site) -> None:
    await site.connect(NOOR)
    assert await who(site, await site.token()) == NOOR


async def test_a_token_is_used_until_shortly_before_its_end(site: Site) -> None:
    await site.connect(NOOR)
    await site.entra(access_token_seconds=3600)
    first = await site.token()
    site.later(minutes=54)
    assert await site.token() == first
    site.later(minutes=2)
    assert await site.token() != first


async def test_a_new_token_takes_the_place_of_one_that_could_be_used_on(site: Site) -> None:
    await site.connect(NOOR)
    first = await site.token()
    site.later(minutes=1)
    second = await access_token(site.place, ["User.Read"], site.now, fresh=True)
    assert second != first
    assert await who(site, second) == NOOR
    assert await site.token() == second
    assert len(await stored(site)) == 3, "of the sign-in, and of each of the two"


async def test_each_use_rotates_the_refresh_token(site: Site) -> None:
    await site.connect(NOOR)
    for _ in range(3):
        site.later(hours=2)
        await site.token()
    tokens = await stored(site)
    assert len(tokens) == len(set(tokens)) == 4
    assert f"refresh_token={tokens[-2]}" in site.token_requests()[-1]


async def test_a_token_lives_on_for_months_when_it_is_used(site: Site) -> None:
    await site.connect(NOOR)
    for _ in range(3):
        site.now += datetime.timedelta(days=80)
        for grant in site.microsoft.sign_in.content.refresh_tokens.values():
            grant.used -= 80 * 86_400
        assert await site.token()


async def test_two_processes_that_refresh_at_once_both_get_a_token(site: Site) -> None:
    await site.connect(NOOR)
    places = [site.process() for _ in range(3)]
    tokens = await asyncio.gather(*(site.token(place) for place in places))
    assert {await who(site, token) for token in tokens} == {NOOR}
    record, _ = await SessionStore(site.place.tables, site.connection).account()
    assert record is not None
    assert record.state == "valid"
    site.later(hours=2)
    assert await site.token()


@pytest.mark.parametrize("outcome", ["it was refused", "it was granted"])
async def test_a_new_sign_in_during_a_refresh_wins(site: Site, monkeypatch: pytest.MonkeyPatch, outcome: str) -> None:
    await site.connect(NOOR)
    if outcome == "it was refused":
        await revoke(site)
    refreshed = 0

    async def interrupted(*details: Any) -> Tokens:
        nonlocal refreshed
        refreshed += 1
        try:
            return await refresh(*details)
        finally:
            if refreshed == 1:
                await site.connect(SEAN)

    monkeypatch.setattr("sso.account.refresh", interrupted)
    assert await who(site, await site.token()) == SEAN
    found = await read_account(site.place)
    assert found is not None
    assert (found.object_id, found.state) == (SEAN, "valid")
    assert (await site.place.health.load()).reasons == []
    assert refreshed == 2


async def test_before_the_first_sign_in_there_is_no_token(site: Site) -> None:
    assert await read_account(site.place) is None
    assert "no account" in await needed(site)


# What ends it


async def end_by_revoking(site: Site) -> None:
    await revoke(site)


async def end_by_idleness(site: Site) -> None:
    for grant in site.microsoft.sign_in.content.refresh_tokens.values():
        grant.used -= 91 * 86_400


async def end_by_consent(site: Site) -> None:
    site.app.consent = Consent()


async def end_by_disabling(site: Site) -> None:
    directory = site.microsoft.directory
    directory.update(directory.entities[NOOR], {"accountEnabled": False})


async def end_by_losing_it(site: Site) -> None:
    site.microsoft.sign_in.content.refresh_tokens.clear()


async def end_in_the_vault(site: Site) -> None:
    await site.place.secrets.delete("authorization-refresh-token")


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (end_by_revoking, "revoked"),
        (end_by_idleness, "90 days"),
        (end_by_consent, "consent"),
        (end_by_disabling, "disabled"),
        (end_by_losing_it, "AADSTS9002313"),
        (end_in_the_vault, "Key Vault"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_ends_the_sign_in_is_told_and_not_tried_again(
    site: Site, end: object, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    await site.connect(NOOR)
    await end(site)  # type: ignore[operator]  # parameters come as objects
    assert words in await needed(site)
    found = await read_account(site.place)
    assert found is not None
    assert found.state == "needs_sign_in"
    assert words in found.reason
    [reason] = (await site.place.health.load()).reasons
    assert reason.code == "sign_in_needed"
    assert words in reason.message
    assert "Connect" in reason.action
    sent = len(site.token_requests())
    await needed(site)
    site.place = site.process()
    await needed(site)
    assert len(site.token_requests()) == sent
    assert [record.levelno for record in caplog.records if record.name == "sso"] == [logging.ERROR]


async def test_a_new_sign_in_mends_it(site: Site) -> None:
    await site.connect(NOOR)
    await revoke(site)
    await needed(site)
    await site.connect(NOOR)
    found = await read_account(site.place)
    assert found is not None
    assert (found.state, found.reason) == ("valid", "")
    assert (await site.place.health.load()).reasons == []
    assert await who(site, await site.token()) == NOOR


async def test_presence_that_is_switched_on_later_asks_for_a_new_sign_in_which_mends_it(site: Site) -> None:
    site.app.consent = Consent(organization=["openid", "profile", "offline_access", "User.Read"])
    await site.connect(NOOR)
    await site.settings(presence={"enabled": True})
    with pytest.raises(SignInNeeded, match="consent") as caught:
        await access_token(site.place, ["Presence.Read.All"], site.now)
    assert "Connect" in caught.value.action
    assert reason_codes(await site.place.health.load()) == ["sign_in_needed"]
    await site.connect(NOOR, administrators=[NOOR])
    assert (await site.place.health.load()).reasons == []
    assert await access_token(site.place, ["Presence.Read.All"], site.now)


async def test_a_reason_that_something_else_wiped_comes_back(site: Site) -> None:
    await site.connect(NOOR)
    await revoke(site)
    await needed(site)
    await site.place.health.update(lambda health: msgspec.structs.replace(health, reasons=[]))
    await needed(site)
    assert reason_codes(await site.place.health.load()) == ["sign_in_needed"]


@pytest.mark.parametrize("kind", ["status", "drop"])
async def test_an_entra_that_fails_ends_nothing(site: Site, kind: str) -> None:
    await site.connect(NOOR)
    site.microsoft.faults.append(Fault(kind=kind, path=TOKEN))
    with pytest.raises(Unavailable):
        await site.token()
    assert await site.token()
    assert (await site.place.health.load()).reasons == []


async def test_a_credential_of_the_application_that_is_refused_is_not_the_accounts_fault(site: Site) -> None:
    await site.connect(NOOR)
    await site.place.secrets.write("entra-client-secret", EXPIRED_CLIENT_SECRET)
    with pytest.raises(CredentialsRejected, match="expired"):
        await site.token()
    found = await read_account(site.place)
    assert found is not None
    assert found.state == "valid"


async def test_a_scope_that_does_not_exist_ends_nothing(site: Site) -> None:
    await site.connect(NOOR)
    with pytest.raises(CredentialsRejected):
        await access_token(site.place, ["Nothing.Read"], site.now)
    found = await read_account(site.place)
    assert found is not None
    assert found.state == "valid"


async def test_a_forgotten_account_leaves_nothing_behind(site: Site) -> None:
    await site.connect(NOOR)
    await site.token()
    await forget_account(site.place)
    assert await read_account(site.place) is None
    assert "no account" in await needed(site)
    assert site.microsoft.vault.secrets[f"{site.connection}-authorization-refresh-token"].deleted is not None
    await site.connect(NOOR)
    assert await site.token()


# Credentials of the application


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


async def test_a_certificate_signs_people_in(site: Site, pem: str) -> None:
    site.app.certificates = [certificate_from_pem("key-1", pem)]
    await site.place.secrets.write("entra-client-certificate", pem)
    await site.settings(microsoft={"credential": "certificate"})
    await site.connect(NOOR)
    assert await who(site, await site.token()) == NOOR
    for body in site.token_requests():
        assert "client_assertion=" in body
        assert "client_secret" not in body


@pytest.mark.parametrize("kind", ["nonsense", "missing", "unregistered"])
async def test_a_certificate_that_does_not_work_is_named(site: Site, pem: str, kind: str) -> None:
    await site.connect(NOOR)
    await site.settings(microsoft={"credential": "certificate"})
    if kind != "missing":
        await site.place.secrets.write("entra-client-certificate", pem if kind == "unregistered" else "nonsense")
    with pytest.raises(NotSetUp if kind == "missing" else CredentialsRejected, match="certificate") as caught:
        await site.token()
    assert "PRIVATE" not in str(caught.value)


async def test_a_managed_identity_signs_people_in_without_any_secret(site: Site) -> None:
    issuer = f"{{authority}}/{TENANT_ID}/v2.0"
    site.app.federated = [FederatedCredential("bridge", issuer, IDENTITY_PRINCIPAL_ID)]
    await site.place.secrets.delete("entra-client-secret")
    await site.settings(microsoft={"credential": "federated"})
    await site.connect(NOOR)
    assert await who(site, await site.token()) == NOOR
    for body in site.token_requests():
        assert "client_assertion=" in body
        assert "client_secret" not in body


async def test_a_federated_credential_that_does_not_match_is_named(site: Site) -> None:
    await site.connect(NOOR)
    site.app.federated = []
    await site.settings(microsoft={"credential": "federated"})
    with pytest.raises(CredentialsRejected, match="federated"):
        await site.token()


# Nothing leaks


async def test_no_secret_is_logged_or_shown(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await site.connect(NOOR)
    token = await site.token()
    truncated = Fault(kind="status", path=TOKEN, status=200, body=f'{{"access_token": "{token}", "refr')
    site.microsoft.faults.append(truncated)
    site.later(hours=2)
    with pytest.raises(Unavailable) as caught:
        await site.token()
    await revoke(site)
    await needed(site)
    told = f"{caplog.text}{caught.value!r}{await read_account(site.place)!r}{site.place!r}"
    for secret in (token, *await stored(site)):
        assert secret not in told
