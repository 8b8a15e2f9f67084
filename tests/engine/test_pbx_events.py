"""What the PBX reports about its extensions: proved, compared, and repaired when somebody changed them by hand."""

import base64
import hmac
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from local.emulator import Fault
from pbx.client import Pbx
from store.changes import PbxEventStore
from store.errors import StoreUnavailable
from store.links import Link
from store.runs import Run
from store.tables import Tables
from sync.messages import Message, Outcome
from sync.pbx_events import look, receive
from tests.engine.wired import Wired
from tests.engine.world import World

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
async def wired(world: World) -> Wired:
    wired = Wired(world)
    await wired.pretend_synced()
    await wired.connection.secrets.write("pbx-webhook-secret", SECRET)
    return wired


@pytest.fixture
async def synced(world: World) -> AsyncIterator[Wired]:
    wired = Wired(world)
    await wired.sync_users()
    await wired.connection.secrets.write("pbx-webhook-secret", SECRET)
    yield wired  # noqa: PT022 - the world closes what was opened


def sign(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"x-signature": base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()}


def event(number: str, option: str = "UPDATE") -> bytes:
    message = msgspec.json.encode({"ext_number": number, "option": option}).decode()
    return msgspec.json.encode({"type": 30022, "msg": message})


async def report(wired: Wired, number: str, option: str = "UPDATE", secret: str = SECRET) -> Outcome:
    body = event(number, option)
    return await receive(wired.connection, sign(body, secret), body, wired.world.tell())


async def noted(wired: Wired) -> list[str]:
    store = PbxEventStore(wired.connection.tables, wired.connection.id)
    return [one.number for one in await store.some(100)]


async def newest(wired: Wired) -> Run:
    [run] = [run async for run in wired.connection.runs.newest(1)]
    return run


async def somebody(wired: Wired) -> Link:
    return next(link for link in await wired.world.links() if link.email)


# Proof


async def test_a_signed_event_is_noted_and_looked_at_soon(wired: Wired) -> None:
    outcome = await report(wired, "1001")
    assert outcome == Outcome(200, messages=(Message(wired.world.id, task="pbx_events"),))
    assert await noted(wired) == ["1001"]


@pytest.mark.parametrize("headers", [{}, {"x-signature": ""}, {"x-signature": "AAAA"}, sign(b"another body")], ids=str)
async def test_an_event_with_a_wrong_signature_is_refused_in_plain_words(wired: Wired, headers: dict[str, str]) -> None:
    outcome = await receive(wired.connection, headers, event("1001"), wired.world.tell())
    assert (outcome.status, outcome.messages) == (401, ())
    assert "pbx-webhook-secret" in outcome.text
    assert SECRET not in outcome.text
    assert await noted(wired) == []


async def test_without_a_stored_secret_nothing_is_believed(wired: Wired, world: World) -> None:
    world.microsoft.vault.secrets.clear()
    outcome = await report(wired, "1001", secret="")
    assert outcome.status == 401
    assert "not stored yet" in outcome.text


async def test_a_replaced_secret_is_noticed_within_seconds(wired: Wired) -> None:
    await report(wired, "1001")
    await wired.connection.secrets.write("pbx-webhook-secret", "n" * 32)
    wired.passes(seconds=11)
    assert (await report(wired, "1002", secret="n" * 32)).status == 200
    assert (await report(wired, "1003")).status == 401
    assert await noted(wired) == ["1001", "1002"]


async def test_forged_events_do_not_hammer_the_key_vault(wired: Wired, world: World) -> None:
    await report(wired, "1001")
    world.microsoft.requests.clear()
    for _ in range(50):
        assert (await report(wired, "1002", secret="wrong")).status == 401
    assert len([request for request in world.microsoft.requests if "/secrets/" in request.path]) <= 1


async def test_an_event_that_cannot_be_used_is_acknowledged(wired: Wired) -> None:
    for body in (b"", b"{", b'{"type":30009,"msg":{}}', event("no number")):
        assert await receive(wired.connection, sign(body), body, wired.world.tell()) == Outcome(200)
    assert await noted(wired) == []


async def test_a_body_that_no_pbx_sends_is_refused_unread(wired: Wired) -> None:
    body = b" " * 100_000
    assert (await receive(wired.connection, sign(body), body, wired.world.tell())).status == 413


async def test_storage_that_is_down_is_told_to_the_pbx(wired: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise StoreUnavailable("the table changes cannot be reached (ServiceRequestError)")

    monkeypatch.setattr(Tables, "upsert", broken)
    assert (await report(wired, "1001")).status == 503


async def test_a_burst_of_events_queues_one_message_and_the_minute_finds_the_rest(wired: Wired) -> None:
    messages = [message for number in range(1000, 1030) for message in (await report(wired, str(number))).messages]
    assert len(messages) == 1
    assert len(await noted(wired)) == 30
    assert Message(wired.world.id, task="pbx_events") in await wired.minute()


async def test_a_replayed_event_is_noted_once(wired: Wired) -> None:
    for _ in range(5):
        await report(wired, "1001")
    assert await noted(wired) == ["1001"]


# Looking


async def test_an_edit_by_hand_is_repaired_at_once(synced: Wired) -> None:
    link = await somebody(synced)
    synced.world.edit_extension(link.number, title="By hand")
    await synced.work(*(await report(synced, link.number)).messages)
    assert synced.world.extensions()[link.number]["title"] == link.written["title"]
    run = await newest(synced)
    assert (run.started_by, run.mode, run.status, run.counts["update.done"]) == ("pbx", "incremental", "succeeded", 1)
    assert await noted(synced) == []


async def test_the_second_edit_of_the_same_extension_is_repaired_too(synced: Wired) -> None:
    link = await somebody(synced)
    for title in ("Once", "Twice"):
        synced.world.edit_extension(link.number, title=title)
        synced.passes(seconds=6)
        await synced.work(*(await report(synced, link.number)).messages)
        assert synced.world.extensions()[link.number]["title"] == link.written["title"]


async def test_an_extension_that_was_deleted_by_hand_comes_back(synced: Wired) -> None:
    link = await somebody(synced)
    synced.world.remove_extension(link.number)
    await synced.work(*(await report(synced, link.number, "DELETE")).messages)
    assert (await newest(synced)).status == "succeeded"
    emails = {extension["email_addr"] for extension in synced.world.extensions().values()}
    assert link.email in emails


async def test_our_own_writes_cause_nothing(synced: Wired) -> None:
    links = [link for link in await synced.world.links() if link.state == "linked"]
    run, writes = await newest(synced), len(synced.world.writes())
    for link in links[:20]:
        await report(synced, link.number, "CREATE")
    assert await look(synced.connection, synced.world.tell()) == []
    assert await noted(synced) == []
    assert (await newest(synced)).id == run.id
    assert len(synced.world.writes()) == writes


async def test_extensions_without_a_link_are_not_even_read(synced: Wired) -> None:
    strangers = set(synced.world.extensions()) - {link.number for link in await synced.world.links()}
    await report(synced, sorted(strangers)[0])
    synced.world.pbx.requests.clear()
    assert await look(synced.connection, synced.world.tell()) == []
    assert synced.world.pbx.requests == []
    assert await noted(synced) == []


async def test_a_look_reads_only_the_extensions_that_were_reported(synced: Wired) -> None:
    link = await somebody(synced)
    await report(synced, link.number)
    synced.world.pbx.requests.clear()
    await look(synced.connection, synced.world.tell())
    paths = [request.path.rsplit("/", 1)[1] for request in synced.world.pbx.requests]
    assert "list" not in paths
    assert paths.count("query") == 1


async def test_while_a_run_is_under_way_events_wait(synced: Wired) -> None:
    link = await somebody(synced)
    synced.world.edit_extension(link.number, title="By hand")
    await report(synced, link.number)
    lease = await synced.connection.leases.acquire("run", "another")
    assert await look(synced.connection, synced.world.tell()) == []
    assert await noted(synced) == [link.number]
    await lease.release()  # type: ignore[union-attr]
    assert len(await look(synced.connection, synced.world.tell())) == 1


async def test_a_link_that_a_run_wrote_while_we_compared_is_looked_at_again(
    synced: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await somebody(synced)
    synced.world.edit_extension(link.number, title="By a run")
    await report(synced, link.number)
    original = Pbx.details

    async def details(self: Pbx, ids: Any) -> Any:
        found = await original(self, ids)
        written = {**link.written, "title": "By a run"}
        await synced.connection.links("users").write(save=[msgspec.structs.replace(link, written=written)])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Pbx, "details", details)
        assert await look(synced.connection, synced.world.tell()) == []
    assert await noted(synced) == [link.number]
    assert await look(synced.connection, synced.world.tell()) == []
    assert await noted(synced) == []
    assert not any(link.unsure for link in await synced.world.links())


async def test_a_pbx_that_does_not_answer_is_asked_again_and_told_once(
    synced: Wired, caplog: pytest.LogCaptureFixture
) -> None:
    link = await somebody(synced)
    synced.world.edit_extension(link.number, title="By hand")
    await report(synced, link.number)
    body = {"errcode": 70087, "errmsg": "IP NOT PERMITTED"}
    synced.world.pbx.faults.append(Fault(kind="status", status=200, body=body, path="*/extension/query", times=2))
    for _ in range(2):
        assert await look(synced.connection, synced.world.tell()) == []
    assert caplog.text.count("cannot be compared") == 1
    assert await noted(synced) == [link.number]
    assert len(await look(synced.connection, synced.world.tell())) == 1


async def test_while_a_failed_run_waits_for_its_next_try_events_wait_with_it(synced: Wired) -> None:
    link = await somebody(synced)
    synced.world.edit_extension(link.number, title="By hand")
    await report(synced, link.number)
    stamp = synced.world.now.isoformat()
    await synced.connection.health.update(lambda health: msgspec.structs.replace(health, retry_at=stamp))
    assert await look(synced.connection, synced.world.tell()) == []
    assert await noted(synced) == [link.number]


@pytest.mark.parametrize("state", [{"paused": ["users"]}, {"disabled": True}], ids=str)
async def test_events_of_a_pause_are_forgotten(synced: Wired, state: dict[str, Any]) -> None:
    link = await somebody(synced)
    synced.world.edit_extension(link.number, title="By hand")
    await report(synced, link.number)
    await synced.connection.health.update(lambda health: msgspec.structs.replace(health, **state))
    assert await look(synced.connection, synced.world.tell()) == []
    assert await noted(synced) == []


async def test_more_extensions_than_one_look_takes_are_taken_by_the_next(
    synced: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.pbx_events.AT_ONCE", 4)
    links = [link for link in await synced.world.links() if link.email][:10]
    for link in links:
        synced.world.edit_extension(link.number, title="By hand")
        await report(synced, link.number)
    await synced.work(Message(synced.world.id, task="pbx_events"))
    assert await noted(synced) == []
    extensions = synced.world.extensions()
    assert [extensions[link.number]["title"] for link in links] == [link.written["title"] for link in links]
