"""What is done through the JSON API is in the same trail as what is done on the pages."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from local.sample import CLIENT_SECRET
from store.audit import AuditStore
from store.errors import StoreUnavailable
from store.runs import RunItem
from sync import api, trail
from sync.api import Ask, Reply
from tests.console.records import UNKNOWN, recorded
from tests.console.site import Site


def ask(**members: object) -> Ask:
    return Ask(body=msgspec.json.encode(members))


async def told(site: Site) -> list[tuple[str, str, str]]:
    """Who did what to what, newest first."""
    return [(entry.who, entry.action, entry.object) for entry in await site.trail()]


async def done(site: Site, action: str, work: Callable[[], Awaitable[Reply]], subject: str = "") -> Reply:
    """As the triggers do it."""
    return await api.answered(lambda: trail.recorded(site.connection, site.world.tell(), action, work, subject=subject))


async def test_a_save_is_recorded_section_by_section_with_before_and_after(site: Site) -> None:
    document = msgspec.to_builtins(await site.settings())
    document["users"]["enabled"] = True
    document["guard"]["max_deletions"] = 3
    saved = Ask(body=msgspec.json.encode(document))
    reply = await trail.recorded_settings(
        site.connection, site.world.tell(), lambda: api.put_settings(site.connection, saved, site.world.tell())
    )
    assert reply.status == 200
    entries = {entry.object: entry for entry in await site.trail()}
    assert set(entries) == {"/users", "/guard"}
    assert {(entry.who, entry.action, entry.role, entry.account) for entry in entries.values()} == {
        ("API key", "settings.saved", "", "")
    }
    before, after = (msgspec.json.decode(text) for text in (entries["/guard"].before, entries["/guard"].after))
    assert (before["max_deletions"], after["max_deletions"]) == (20, 3)


async def test_a_save_that_changes_nothing_or_is_refused_is_not_recorded(site: Site) -> None:
    document = msgspec.to_builtins(await site.settings())
    for changed in (document, {**document, "users": {"enabled": "perhaps"}}):
        saved = Ask(body=msgspec.json.encode(changed))
        await api.answered(
            lambda saved=saved: trail.recorded_settings(  # type: ignore[misc]
                site.connection, site.world.tell(), lambda: api.put_settings(site.connection, saved, site.world.tell())
            )
        )
    assert await told(site) == []


async def test_a_secret_is_recorded_by_its_name_only(site: Site) -> None:
    name = "entra-client-secret"
    sent = ask(value=CLIENT_SECRET)
    reply = await done(
        site, "secret.replaced", lambda: api.put_secret(site.connection, name, sent, site.world.tell()), name
    )
    assert reply.status == 200
    assert await told(site) == [("API key", "secret.replaced", name)]
    assert CLIENT_SECRET not in repr(await site.trail())


async def test_a_run_and_a_preview_are_recorded_as_what_they_are(site: Site) -> None:
    await site.world.secrets()
    await site.world.enable()
    for sent, action in ((ask(), "sync.started"), (ask(preview=True, object_id=UNKNOWN), "sync.previewed")):
        reply = await done(
            site,
            "sync.started",
            lambda sent=sent: api.post_sync(site.connection, sent, site.world.tell()),  # type: ignore[misc]
        )
        run = msgspec.json.decode(reply.body)
        assert (await told(site))[0] == ("API key", action, run["id"])
    assert [entry.after for entry in await site.trail()] == [f"users: {UNKNOWN}", "users: full"]


async def test_pausing_names_what_is_paused_and_only_listing_what_would_go_is_a_preview(site: Site) -> None:
    await site.world.staff(2)
    await site.world.secrets()
    await site.world.enable()
    for sent, action in (
        (ask(what="users", delete=True, preview=True), "sync.previewed"),
        (ask(what="users"), "users.paused"),
    ):
        reply = await done(
            site,
            trail.deed(sent, "paused"),
            lambda sent=sent: api.post_pause(site.connection, sent, site.world.tell()),  # type: ignore[misc]
        )
        assert reply.status < 300
        assert (await told(site))[0][1] == action


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"what": 5}', b"\xff"])
async def test_a_body_that_names_nothing_is_refused_and_not_recorded(site: Site, body: bytes) -> None:
    sent = Ask(body=body)
    reply = await done(
        site, trail.deed(sent, "paused"), lambda: api.post_pause(site.connection, sent, site.world.tell())
    )
    assert reply.status in {400, 422}
    assert await told(site) == []


async def test_a_decision_names_the_run_that_held(site: Site) -> None:
    held = RunItem(operation="delete", outcome="held", object_id=UNKNOWN)
    run = await recorded(site, held, counts={"delete.held": 1})
    reply = await done(
        site,
        "held.rejected",
        lambda: api.post_decision(site.connection, run.id, "rejected", site.world.tell()),
        run.id,
    )
    assert reply.status == 200
    assert await told(site) == [("API key", "held.rejected", run.id)]


async def test_a_trail_that_cannot_be_written_is_logged_and_undoes_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise StoreUnavailable("Table Storage does not answer")

    monkeypatch.setattr(AuditStore, "add", broken)
    sent = ask(value=CLIENT_SECRET)
    reply = await done(
        site,
        "secret.replaced",
        lambda: api.put_secret(site.connection, "entra-client-secret", sent, site.world.tell()),
        "entra-client-secret",
    )
    assert reply.status == 200
    assert "audit trail misses secret.replaced of entra-client-secret: Table Storage does not answer" in caplog.text
    assert CLIENT_SECRET not in caplog.text
