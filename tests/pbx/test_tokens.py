"""The one token of a deployment: shared, renewed in time, and never asked for again after a rejection."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from local.azurite import Azurite
from local.pbx.emulator import PbxEmulator
from pbx import tokens
from pbx.errors import (
    ApiDisabled,
    Blocked,
    Busy,
    CredentialsRejected,
    OutcomeUnknown,
    PbxError,
    Retry,
    ServerFault,
    Stop,
    TokensExhausted,
)
from pbx.models import TokenAnswer
from pbx.tokens import Credentials, SharedToken, State
from store.errors import StoreUnavailable
from store.tokens import TokenStore
from tests.conftest import AUTHORITY
from tests.pbx.support import MemoryText, Office, new

ROOT = Path(__file__).resolve().parents[2]
WORKER = """
import asyncio, json, sys
sys.path.insert(0, sys.argv[1])
from pbx.address import Address
from pbx.client import Pbx
from pbx.errors import PbxError
from pbx.tokens import Credentials, SharedToken
from store.environment import Environment, StorageAccount
from store.tables import open_tables
from store.tokens import TokenStore

async def main(storage, connection, fqdn, secret):
    async def credentials():
        return Credentials("bridge", secret, "bridge|v1")
    async def mark():
        return "bridge|v1"
    tables = open_tables(Environment(storage=StorageAccount(connection_string=storage)))
    async with Pbx(Address(fqdn)) as pbx:
        pbx.sign_in_with(SharedToken(TokenStore(tables, connection, "pbx"), credentials, mark, pbx.ask_token))
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            print((await pbx.capacity()).extension_used)
        except PbxError as error:
            print(error.code)
    await tables.close()

asyncio.run(main(*json.loads(sys.argv[2])))
"""


async def processes(count: int, azurite: Azurite, office: Office, connection: str, secret: str) -> list[str]:
    """What so many processes print that ask the PBX for something at the same moment."""
    fqdn = office.emulator.url.removeprefix("https://")
    arguments = json.dumps([azurite.connection_string, connection, fqdn, secret])
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, str(ROOT), arguments,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"SSL_CERT_FILE": str(AUTHORITY.certificate_file)},
        )
        for _ in range(count)
    ]  # fmt: skip
    try:
        for process in started:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        answers = await asyncio.gather(*(process.communicate(b"go\n") for process in started))
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return [output.decode().strip() for output, _ in answers]


async def test_twenty_processes_that_start_together_take_one_token(
    azurite: Azurite, emulator: PbxEmulator, shared: TokenStore
) -> None:
    office = Office(emulator, shared)
    printed = await processes(20, azurite, office, shared._connection, office.secret)
    assert printed == ["3"] * 20
    assert office.sent("get_token") == ["get_token"]
    assert emulator.machine.tokens.live(emulator.clock.time()) == 1
    assert emulator.violations.found == []


async def test_wrong_credentials_are_tried_once_by_all_processes_together(
    azurite: Azurite, emulator: PbxEmulator, shared: TokenStore
) -> None:
    office = Office(emulator, shared)
    office.secret = "wrong"
    printed = await processes(6, azurite, office, shared._connection, "wrong")
    assert printed == ["pbx_credentials_rejected"] * 6
    assert office.issued() == ["get_token wrong_credentials"]
    async with office.client() as later:
        for _ in range(10):
            with pytest.raises(CredentialsRejected):
                await later.capacity()
    assert len(emulator.requests) == 1


async def test_twenty_clients_in_one_process_take_one_token(emulator: PbxEmulator, shared: TokenStore) -> None:
    office = Office(emulator, shared)
    clients = [office.client() for _ in range(20)]
    await asyncio.gather(*(pbx.capacity() for pbx in clients for _ in range(3)))
    assert office.issued() == ["get_token issued"]
    await office.close()


# With a token at hand


async def test_a_token_at_hand_costs_no_look_at_the_store(office: Office) -> None:
    pbx = office.client()
    await pbx.capacity()
    touched = office.memory.touched
    made = await pbx.create_extension(new("2000"))
    await pbx.update_extension(made, {"title": "x"})
    await pbx.delete_extension(made)
    await pbx.extensions()
    assert office.memory.touched == touched


async def test_the_first_token_of_a_process_costs_one_look_when_another_has_it(office: Office) -> None:
    await office.client().capacity()
    touched = office.memory.touched
    await office.client().capacity()
    assert office.memory.touched == touched + 1


async def test_a_token_is_refreshed_after_25_minutes(office: Office) -> None:
    pbx = office.client()
    await pbx.capacity()
    office.advance(24 * 60)
    await pbx.capacity()
    assert office.issued() == ["get_token issued"]
    office.advance(2 * 60)
    await asyncio.gather(*(one.capacity() for one in (pbx, office.client(), office.client())))
    assert office.issued() == ["get_token issued", "refresh_token issued"]
    assert office.emulator.machine.tokens.live(office.now()) == 1


async def test_after_a_day_without_work_there_is_nothing_to_refresh(office: Office) -> None:
    pbx = office.client()
    await pbx.capacity()
    office.advance(25 * 3600)
    await pbx.capacity()
    assert office.issued() == ["get_token issued"] * 2


async def test_a_refresh_that_the_pbx_refuses_ends_in_one_sign_in(office: Office) -> None:
    pbx = office.client()
    await pbx.capacity()
    office.emulator.machine.tokens.clear()
    office.advance(26 * 60)
    await pbx.capacity()
    assert office.issued() == ["get_token issued", "refresh_token unknown_token", "get_token issued"]


async def test_a_lifetime_that_is_no_lifetime_does_not_renew_at_every_request(office: Office) -> None:
    body = {"errcode": 0, "access_token_expire_time": 0, "refresh_token_expire_time": "0"}
    pair = office.emulator.machine.tokens.issue(office.now())
    office.fault("status", "get_token", status=200, body={**body, "access_token": pair.access, "refresh_token": "r"})
    pbx = office.client()
    for _ in range(5):
        await pbx.capacity()
    assert office.sent("_token") == ["get_token"]


# 10004


async def test_a_token_that_the_pbx_forgot_is_renewed_once_for_all(office: Office) -> None:
    clients = [office.client() for _ in range(5)]
    await asyncio.gather(*(pbx.capacity() for pbx in clients))
    office.emulator.machine.tokens.clear()
    await asyncio.gather(*(pbx.capacity() for pbx in clients for _ in range(4)))
    assert office.issued() == ["get_token issued", "refresh_token unknown_token", "get_token issued"]


async def test_a_write_with_a_forgotten_token_is_carried_out_once(office: Office) -> None:
    pbx = office.client()
    await pbx.capacity()
    office.emulator.machine.tokens.clear()
    await pbx.create_extension(new("2000"))
    assert office.numbers().count("2000") == 1
    office.emulator.machine.tokens.clear()
    await pbx.delete_extension(1)
    assert office.emulator.machine.directory.get(1) is None


@pytest.mark.parametrize("path", ["system/capacity", "extension/update", "extension/delete"])
async def test_a_pbx_that_calls_every_token_expired_gets_one_renewal_and_one_more_try(
    office: Office, path: str
) -> None:
    pbx = office.client()
    await pbx.information()
    office.errcode(10004, path, times=None)
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "system/capacity": pbx.capacity,
        "extension/update": lambda: pbx.update_extension(1, {"title": "x"}),
        "extension/delete": lambda: pbx.delete_extension(1),
    }
    with pytest.raises(ServerFault, match="just issued"):
        await calls[path]()
    assert office.sent(path) == [path] * 2
    assert office.issued() == ["get_token issued", "refresh_token issued"]


@pytest.mark.parametrize("errcode", [40001, 40002, 10005, -1])
async def test_no_other_refusal_renews_the_token(office: Office, errcode: int) -> None:
    pbx = office.client()
    office.errcode(errcode, "system/capacity", times=None)
    with pytest.raises(PbxError):
        await pbx.capacity()
    assert office.issued() == ["get_token issued"]


# The breaker


@pytest.mark.parametrize("errcode", [1, -1, 40002, 10004, 99999])
async def test_a_rejection_of_whatever_number_is_never_tried_again(office: Office, errcode: int) -> None:
    office.secret = "wrong"
    office.firmware(wrong_credentials_errcode=errcode)
    for _ in range(8):
        pbx = office.client()
        with pytest.raises(CredentialsRejected):
            await pbx.capacity()
        with pytest.raises(CredentialsRejected):
            await pbx.update_extension(1, {"title": "x"})
        office.advance(3600)
    assert office.issued() == ["get_token wrong_credentials"]


async def test_a_new_version_of_the_secret_closes_the_breaker(office: Office) -> None:
    office.secret = "wrong"
    pbx = office.client()
    with pytest.raises(CredentialsRejected):
        await pbx.capacity()
    office.secret, office.version = "also wrong", "v2"
    with pytest.raises(CredentialsRejected):
        await pbx.capacity()
    office.secret, office.version = "s3cr3t-of-the-bridge", "v3"
    await pbx.capacity()
    assert office.issued() == [*["get_token wrong_credentials"] * 2, "get_token issued"]


async def test_a_new_version_of_the_secret_is_not_used_with_the_old_ones_tokens(office: Office) -> None:
    await office.client().capacity()
    office.version = "v2"
    await office.client().capacity()
    assert office.issued() == ["get_token issued"] * 2


async def test_a_rejection_that_the_store_could_not_keep_is_heeded_by_the_process_all_the_same(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.secret = "wrong"
    pbx = office.client()
    original, swaps = MemoryText.swap, 0

    async def swap(self: MemoryText, text: str, etag: str) -> str | None:
        nonlocal swaps
        swaps += 1
        if swaps > 1:
            raise StoreUnavailable("down")
        return await original(self, text, etag)

    monkeypatch.setattr(MemoryText, "swap", swap)
    with pytest.raises(StoreUnavailable):
        await pbx.capacity()
    for _ in range(5):
        with pytest.raises(CredentialsRejected):
            await pbx.capacity()
    assert len(office.sent("get_token")) == 1


async def test_a_blocked_address_waits_until_the_block_ends(office: Office) -> None:
    machine = office.emulator.machine
    for _ in range(5):
        machine.blocked.failed("127.0.0.1", office.now(), 660)
    for seconds in (0, 300, 350):
        office.advance(seconds)
        with pytest.raises(Blocked, match="70004"):
            await office.client().capacity()
    assert office.sent() == ["get_token"]
    office.advance(15)
    await office.client().capacity()


@pytest.mark.parametrize("end", [None, "soon", -5, 10**12, True])
async def test_a_block_without_a_plausible_end_lasts_a_quarter_of_an_hour(office: Office, end: Any) -> None:
    body = {"errcode": 70004, "errmsg": "BLOCKED", "block_expire_time": end}
    office.fault("status", "get_token", status=200, body=body)
    with pytest.raises(Blocked):
        await office.client().capacity()
    office.advance(14 * 60)
    with pytest.raises(Blocked):
        await office.client().capacity()
    office.advance(2 * 60)
    await office.client().capacity()


async def test_an_address_that_is_not_permitted_is_blocked_too(office: Office) -> None:
    application = office.emulator.machine.application
    office.emulator.machine.application = msgspec.structs.replace(application, permitted_ips=("10.0.0.0/8",))
    for _ in range(3):
        with pytest.raises(Blocked, match="70087"):
            await office.client().capacity()
    assert office.sent() == ["get_token"]


async def test_an_api_that_is_off_is_asked_again_after_a_while(office: Office) -> None:
    application = office.emulator.machine.application
    office.emulator.machine.application = msgspec.structs.replace(application, enabled=False)
    for _ in range(3):
        with pytest.raises(ApiDisabled):
            await office.client().capacity()
    assert office.sent() == ["get_token"]
    office.emulator.machine.application = application
    office.advance(16 * 60)
    await office.client().capacity()


async def test_eight_live_tokens_are_a_limit_that_passes(office: Office) -> None:
    machine = office.emulator.machine
    for _ in range(8):
        machine.tokens.issue(office.now())
    for _ in range(3):
        with pytest.raises(TokensExhausted, match="8 live"):
            await office.client().capacity()
    assert office.issued() == ["get_token limit"]
    office.advance(1801)
    await office.client().capacity()


@pytest.mark.parametrize("errcode", [-2, 2])
async def test_an_unclear_refusal_is_not_tried_again_soon(office: Office, errcode: int) -> None:
    """It may be how this firmware rejects a secret, and five of those block the address."""
    office.errcode(errcode, "get_token", times=None)
    for _ in range(10):
        with pytest.raises(Retry):
            await office.client().capacity()
    assert office.sent() == ["get_token"]
    office.emulator.faults.clear()
    office.advance(16 * 60)
    await office.client().capacity()


@pytest.mark.parametrize(
    "lost",
    [
        {"kind": "drop"},
        {"kind": "commit_then_drop"},
        {"kind": "truncate", "bytes": 9},
        {"kind": "status", "status": 502, "body": "<html>"},
        {"kind": "status", "status": 200, "body": "<html>"},
    ],
    ids=lambda lost: f"{lost['kind']}{lost.get('status', '')}",
)
async def test_sign_ins_that_end_unclear_do_not_eat_up_the_tokens(office: Office, lost: dict[str, Any]) -> None:
    office.fault(path="get_token", times=None, **lost)
    for _ in range(6):
        with pytest.raises(Retry) as caught:
            await office.client().capacity()
        assert not isinstance(caught.value, OutcomeUnknown)
    assert len(office.sent("get_token")) == 2
    office.advance(61)
    with pytest.raises(Retry):
        await office.client().capacity()
    assert len(office.sent("get_token")) == 3
    office.emulator.faults.clear()
    office.advance(61)
    await office.client().capacity()


async def test_one_lost_sign_in_is_made_good_at_once(office: Office) -> None:
    office.fault("status", "get_token", status=502)
    await office.client().capacity()


async def test_a_write_is_not_called_unknown_because_its_sign_in_was_lost(office: Office) -> None:
    office.fault("drop", "get_token", times=None)
    with pytest.raises(Retry) as caught:
        await office.client().create_extension(new("2000"))
    assert not isinstance(caught.value, OutcomeUnknown)
    assert office.sent("create") == []


async def test_a_busy_pbx_is_signed_in_to_later(office: Office) -> None:
    office.errcode(70082, "get_token", times=4)
    with pytest.raises(Busy):
        await office.client().capacity()
    await office.client().capacity()
    office.advance(26 * 60)
    office.errcode(70082, "refresh_token", times=1)
    await office.client().capacity()
    assert office.issued() == ["get_token issued", "refresh_token issued"]


# Claims


async def test_others_wait_for_the_process_that_renews(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "POLL_SECONDS", 0.005)
    office.fault("delay", "get_token", seconds=0.1)
    await asyncio.gather(*(office.client().capacity() for _ in range(6)))
    assert office.issued() == ["get_token issued"]


async def test_the_claim_of_a_process_that_died_runs_out(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "POLL_SECONDS", 0.001)
    claim = State(mark="bridge|v1", renewing="dead", renewing_until=office.now() + tokens.RENEWAL_SECONDS)
    await office.text.swap(tokens._encode(claim), "")
    waiting = asyncio.ensure_future(office.client().capacity())
    await passed(lambda: office.memory.touched > 5)
    assert office.sent() == []
    office.advance(tokens.RENEWAL_SECONDS + 1)
    await waiting
    assert office.issued() == ["get_token issued"]


async def test_nobody_waits_for_ever(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "POLL_SECONDS", 0.001)
    claim = State(mark="bridge|v1", renewing="dead", renewing_until=office.now() + 10_000)
    await office.text.swap(tokens._encode(claim), "")
    token = office.client()._signed_in()
    waiting = asyncio.ensure_future(token.get())
    await passed(lambda: office.memory.touched > 5)
    office.advance(2 * tokens.RENEWAL_SECONDS + 1)
    with pytest.raises(Retry, match="in time"):
        await waiting


async def passed(look: Any) -> None:
    async with asyncio.timeout(5):
        while not look():  # noqa: ASYNC110 - a poll by the code under test has no event
            await asyncio.sleep(0.001)


async def test_a_cancelled_renewal_leaves_the_claim_to_others(office: Office) -> None:
    office.fault("delay", "get_token", seconds=0.5)
    cancelled = asyncio.ensure_future(office.client().capacity())
    await passed(lambda: office.sent("get_token"))
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    async with asyncio.timeout(2):
        await office.client().capacity()


async def test_a_cancellation_stays_one_when_the_store_is_down(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.fault("delay", "get_token", seconds=0.5)
    cancelled = asyncio.ensure_future(office.client().capacity())
    await passed(lambda: office.sent("get_token"))

    async def swap(*_: object) -> str | None:
        raise StoreUnavailable("down")

    monkeypatch.setattr(MemoryText, "swap", swap)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_a_claim_whose_confirmation_was_lost_is_taken_up_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MemoryText.swap
    lost: list[str] = []

    async def swap(self: MemoryText, text: str, etag: str) -> str | None:
        new_etag = await original(self, text, etag)
        if not lost:
            lost.append(text)
            return None
        return new_etag

    monkeypatch.setattr(MemoryText, "swap", swap)
    async with asyncio.timeout(2):
        await office.client().capacity()
    assert office.issued() == ["get_token issued"]


@pytest.mark.parametrize("text", ["{", "[]", '{"access_token": 5}', '{"from": "a later version"}', "\x00"])
async def test_a_state_that_does_not_decode_means_signing_in_anew(office: Office, text: str) -> None:
    await office.text.swap(text, "")
    await office.client().capacity()
    assert office.issued() == ["get_token issued"]


# What is shown


def test_nothing_shows_a_token_or_a_secret() -> None:
    state = State(access_token="secret-a", refresh_token="secret-b", mark="m")
    answer = TokenAnswer(errcode=0, access_token="secret-a", refresh_token="secret-b")
    credentials = Credentials("id", "secret-c", "m")
    shown = f"{[state, answer, credentials, new()]} {state} {answer} {credentials} {new()}"
    assert "secret-" not in shown
    assert new().user_password not in shown
    assert new().reg_password not in shown


async def test_the_store_never_sees_the_secret(office: Office) -> None:
    await office.client().capacity()
    assert office.secret not in office.memory.text
    office.version, office.secret = "v2", "wrong"
    with pytest.raises(Stop):
        await office.client().capacity()
    assert "wrong" not in office.memory.text


async def test_the_secret_is_read_only_to_sign_in(office: Office) -> None:
    async def forbidden() -> Credentials:
        raise AssertionError("the secret was read")

    await office.client().capacity()
    office.advance(26 * 60)
    pbx = office.client()
    pbx.sign_in_with(SharedToken(office.text, forbidden, office._mark, pbx.ask_token, office.now))
    await pbx.capacity()
    assert office.issued()[-1] == "refresh_token issued"
