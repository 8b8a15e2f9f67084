"""Secrets in an emulated Key Vault, with the managed identity that App Service gives."""

import logging
import traceback
from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.keyvault.secrets.aio import SecretClient

from local import sample
from local.emulator import Fault
from local.microsoft import MicrosoftEmulator
from store.environment import Environment, StorageAccount
from store.errors import AccessDenied, InvalidRecord, SecretMissing, StoreError, StoreUnavailable
from store.secrets import MAX_BYTES, SECRET_NAMES, Secret, SecretStore

VALUE = "th3-v4lue-that-nobody-sees"


@pytest.fixture
def environment(microsoft: MicrosoftEmulator) -> Environment:
    return Environment(
        storage=StorageAccount(),
        key_vault_url=microsoft.url,
        has_identity=True,
        identity_client_id=sample.IDENTITY_CLIENT_ID,
    )


@pytest.fixture
async def secrets(environment: Environment) -> AsyncIterator[SecretStore]:
    async with SecretStore(environment, "default") as store:
        yield store


def stored(microsoft: MicrosoftEmulator, name: str) -> Any:
    return microsoft.vault.secrets[name].versions[-1]


async def test_a_secret_is_written_and_read_back_with_its_version(
    secrets: SecretStore, microsoft: MicrosoftEmulator
) -> None:
    written = await secrets.write("pbx-client-secret", VALUE)
    read = await secrets.read("pbx-client-secret")
    assert (read.value, read.version) == (VALUE, written.version)
    assert stored(microsoft, "pbx-client-secret").version == read.version


async def test_a_new_value_is_a_new_version(secrets: SecretStore) -> None:
    first = await secrets.write("pbx-client-secret", "one")
    second = await secrets.write("pbx-client-secret", "two")
    assert first.version != second.version
    assert await secrets.read("pbx-client-secret") == second


async def test_an_older_version_can_be_read_by_its_name(secrets: SecretStore) -> None:
    first = await secrets.write("session-key", "one")
    await secrets.write("session-key", "two")
    assert await secrets.read("session-key", first.version) == first
    with pytest.raises(SecretMissing):
        await secrets.read("session-key", "0" * 32)


def test_what_the_bridge_makes_itself_is_none_of_the_secrets_that_are_typed_in() -> None:
    assert {"session-key", "authorization-refresh-token"}.isdisjoint(SECRET_NAMES)


async def test_connections_beyond_the_first_have_secrets_of_their_own(
    secrets: SecretStore, environment: Environment
) -> None:
    await secrets.write("pbx-client-secret", VALUE)
    async with SecretStore(environment, "second") as other:
        with pytest.raises(SecretMissing, match="second-pbx-client-secret"):
            await other.read("pbx-client-secret")


async def test_a_secret_that_is_not_there_is_missing_by_name(secrets: SecretStore) -> None:
    with pytest.raises(SecretMissing, match="entra-client-secret") as caught:
        await secrets.read("entra-client-secret")
    assert caught.value.name == "entra-client-secret"


async def test_a_secret_that_is_switched_off_is_missing(secrets: SecretStore, microsoft: MicrosoftEmulator) -> None:
    await secrets.write("pbx-client-secret", VALUE)
    stored(microsoft, "pbx-client-secret").attributes.enabled = False
    with pytest.raises(SecretMissing):
        await secrets.read("pbx-client-secret")


async def test_an_identity_without_a_role_is_denied(secrets: SecretStore, microsoft: MicrosoftEmulator) -> None:
    microsoft.vault.allowed.clear()
    with pytest.raises(AccessDenied, match="role assignments"):
        await secrets.read("pbx-client-secret")
    with pytest.raises(AccessDenied):
        await secrets.write("pbx-client-secret", VALUE)


@pytest.mark.parametrize("wrong", ["client id", "header"])
async def test_an_identity_that_this_host_does_not_have_is_denied(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    if wrong == "header":
        monkeypatch.setenv("IDENTITY_HEADER", "another")
    client_id = "99999999-9999-4999-8999-999999999999" if wrong == "client id" else sample.IDENTITY_CLIENT_ID
    changed = Environment(
        storage=environment.storage,
        key_vault_url=environment.key_vault_url,
        has_identity=True,
        identity_client_id=client_id,
    )
    async with SecretStore(changed, "default") as store:
        with pytest.raises(AccessDenied):
            await store.read("pbx-client-secret")


async def test_a_vault_that_cannot_be_reached_is_unavailable(dead_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)
    dead = Environment(storage=StorageAccount(), key_vault_url=f"https://localhost:{dead_port}")
    async with SecretStore(dead, "default") as store:
        with pytest.raises(StoreUnavailable, match="the Key Vault cannot be reached"):
            await store.read("pbx-client-secret")
        with pytest.raises(StoreUnavailable):
            await store.write("pbx-client-secret", VALUE)


async def test_a_vault_that_fails_is_asked_a_few_times_and_then_unavailable(
    secrets: SecretStore, microsoft: MicrosoftEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    microsoft.faults.append(Fault(kind="status", path="/secrets/*", status=503, times=None))
    with pytest.raises(StoreUnavailable, match="503"):
        await secrets.read("pbx-client-secret")
    assert len([one for one in microsoft.requests if one.path.startswith("/secrets")]) == 5


async def test_a_vault_that_recovers_is_read(
    secrets: SecretStore, microsoft: MicrosoftEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    await secrets.write("pbx-client-secret", VALUE)
    microsoft.faults.append(Fault(kind="status", path="/secrets/*", status=500, times=2))
    assert (await secrets.read("pbx-client-secret")).value == VALUE


@pytest.mark.parametrize("value", ["", "x" * (MAX_BYTES + 1), "é" * MAX_BYTES, "\ud800"])
async def test_a_value_that_key_vault_refuses_is_refused_before_it_is_sent(
    secrets: SecretStore, microsoft: MicrosoftEmulator, value: str
) -> None:
    with pytest.raises(InvalidRecord):
        await secrets.write("pbx-client-secret", value)
    assert microsoft.requests == []


async def test_without_a_vault_there_is_a_plain_word() -> None:
    async with SecretStore(Environment(storage=StorageAccount()), "default") as store:
        with pytest.raises(InvalidRecord, match="KEY_VAULT_URL"):
            await store.read("pbx-client-secret")


def test_a_secret_does_not_show_its_value() -> None:
    secret = Secret(VALUE, "v1")
    assert VALUE not in f"{secret} {secret!r} {[secret]}"


async def test_a_value_is_in_no_log_and_no_error(
    secrets: SecretStore,
    microsoft: MicrosoftEmulator,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once(monkeypatch)
    caplog.set_level(logging.DEBUG)
    await secrets.write("pbx-client-secret", VALUE)
    await secrets.read("pbx-client-secret")
    texts = []
    for status in (400, 403, 409, 500):
        microsoft.faults.append(Fault(kind="status", path="/secrets/*", status=status, times=None))
        for call in (secrets.read("pbx-client-secret"), secrets.write("pbx-client-secret", VALUE)):
            with pytest.raises(StoreError) as caught:
                await call
            texts.append("".join(traceback.format_exception(caught.value)))
        microsoft.faults.clear()
    tokens = [one.headers.get("Authorization", "") for one in microsoft.requests]
    assert any(tokens)
    for secret in [VALUE, *(token.removeprefix("Bearer ") for token in tokens if token)]:
        assert secret not in caplog.text + "".join(texts)


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same tries, without the pauses between them."""
    original = SecretClient.__init__

    def patched(self: SecretClient, *args: Any, **options: Any) -> None:
        original(self, *args, **{**options, "retry_backoff_factor": 0})

    monkeypatch.setattr(SecretClient, "__init__", patched)
