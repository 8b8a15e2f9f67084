"""The stored settings document: made at the first start, saved by compare-and-swap."""

import asyncio

import msgspec
import pytest

from store.document import Groups, Guard, Microsoft, Pbx, Settings, Users
from store.environment import Environment, StorageAccount
from store.errors import Changed, InvalidRecord
from store.settings import SettingsStore, Stored
from store.tables import Row, Tables, long_text

ENVIRONMENT = Environment(
    storage=StorageAccount(),
    tenant_id="contoso.example",
    client_id="22222222-2222-4222-8222-222222222222",
    pbx_fqdn="pbx.example.com:8088",
    pbx_client_id="bridge",
)


@pytest.fixture
def store(tables: Tables, connection: str) -> SettingsStore:
    return SettingsStore(tables, connection, ENVIRONMENT)


async def test_the_first_start_fills_in_what_the_deployment_knows(store: SettingsStore) -> None:
    stored = await store.load()
    assert stored.settings == Settings(
        microsoft=Microsoft(tenant_id="contoso.example", client_id="22222222-2222-4222-8222-222222222222"),
        pbx=Pbx(fqdn="pbx.example.com:8088", client_id="bridge"),
    )
    assert (stored.revision, stored.http_etag) == (1, '"1"')
    assert stored.settings.missing() == []


async def test_a_later_start_keeps_what_an_administrator_saved(
    store: SettingsStore, tables: Tables, connection: str
) -> None:
    saved = await store.save(Settings(pbx=Pbx(fqdn="other.example.com")), await store.load())
    later = SettingsStore(tables, connection, msgspec.structs.replace(ENVIRONMENT, pbx_fqdn="changed.example.com"))
    assert await later.load() == saved


async def test_twenty_first_starts_at_once_make_one_document(tables: Tables, connection: str) -> None:
    stores = [
        SettingsStore(tables, connection, msgspec.structs.replace(ENVIRONMENT, pbx_client_id=f"bridge-{index}"))
        for index in range(20)
    ]
    loaded = await asyncio.gather(*(store.load() for store in stores))
    assert all(one == loaded[0] for one in loaded)
    assert len([row async for row in tables.query("settings", connection)]) == 1


async def test_of_two_saves_on_one_base_the_second_is_told_and_changes_nothing(store: SettingsStore) -> None:
    base = await store.load()
    first = await store.save(Settings(users=Users(enabled=True)), base)
    with pytest.raises(Changed):
        await store.save(Settings(guard=Guard(max_deletions=1), groups=Groups(delete_out_of_scope=True)), base)
    assert await store.load() == first
    assert (first.revision, first.settings.users.enabled) == (2, True)


async def test_of_twenty_saves_at_once_exactly_one_is_saved_whole(store: SettingsStore) -> None:
    base = await store.load()

    async def save(number: int) -> Stored | None:
        wanted = Settings(pbx=Pbx(client_id=f"{number}"), guard=Guard(max_deletions=number))
        try:
            return await store.save(wanted, base)
        except Changed:
            return None

    saved = [one for one in await asyncio.gather(*map(save, range(20))) if one is not None]
    assert saved == [await store.load()]
    assert saved[0].settings.pbx.client_id == str(saved[0].settings.guard.max_deletions)


async def test_a_large_document_makes_the_round_trip(store: SettingsStore) -> None:
    large = Settings(pbx=Pbx(ca_certificate="ü\n" * 100_000))
    await store.save(large, await store.load())
    assert (await store.load()).settings == large


async def test_a_document_that_does_not_decode_is_an_invalid_record(
    store: SettingsStore, tables: Tables, connection: str
) -> None:
    await tables.upsert("settings", Row(connection, "document", {"revision": 1, **long_text('{"users": 1}')}))
    with pytest.raises(InvalidRecord, match="do not decode"):
        await store.load()


def test_what_is_missing_is_named_by_its_path() -> None:
    missing = ["/microsoft/tenant_id", "/microsoft/client_id", "/pbx/fqdn", "/pbx/client_id"]
    assert Settings().missing() == missing
    assert Settings(pbx=Pbx(fqdn="pbx.example.com")).missing() == [path for path in missing if path != "/pbx/fqdn"]
