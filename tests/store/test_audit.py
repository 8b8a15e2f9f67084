"""The audit trail: newest first, page by page, and nothing gets lost for being too long."""

import datetime

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store.audit import CUT, MOST_CHARACTERS, AuditStore, Entry
from store.tables import Tables

START = datetime.datetime(2026, 3, 2, 9, 0, tzinfo=datetime.UTC)


def entry(number: int = 0, **more: str) -> Entry:
    at = (START + datetime.timedelta(seconds=number)).isoformat(timespec="milliseconds")
    usual = {"at": at, "who": "Noor", "action": f"action.{number}"}
    return Entry(**{**usual, **more})


async def test_an_entry_comes_back_as_it_was(tables: Tables, connection: str) -> None:
    trail = AuditStore(tables, connection)
    made = entry(account="t:o", role="admin", object="users", before='{"a": 1}', after='{"a": 2}')
    await trail.add(made)
    [found] = await trail.newest(10)
    assert found.key
    assert msgspec.structs.replace(found, key="") == made


async def test_the_newest_comes_first_and_pages_follow_each_other(tables: Tables, connection: str) -> None:
    trail = AuditStore(tables, connection)
    for number in (2, 0, 4, 1, 3):
        await trail.add(entry(number))
    first = await trail.newest(2)
    second = await trail.newest(2, first[-1].key)
    last = await trail.newest(2, second[-1].key)
    assert [item.action for item in (*first, *second, *last)] == [f"action.{number}" for number in (4, 3, 2, 1, 0)]
    assert await trail.newest(2, last[-1].key) == []


async def test_deeds_of_one_moment_are_all_kept(tables: Tables, connection: str) -> None:
    trail = AuditStore(tables, connection)
    for _ in range(5):
        await trail.add(entry())
    assert len(await trail.newest(10)) == 5
    assert await AuditStore(tables, f"{connection}x").newest(10) == []


async def test_texts_that_are_too_long_are_cut(tables: Tables, connection: str) -> None:
    trail = AuditStore(tables, connection)
    await trail.add(entry(before="😀" * 500_000, after="a" * MOST_CHARACTERS))
    [found] = await trail.newest(1)
    assert found.before == "😀" * MOST_CHARACTERS + CUT
    assert found.after == "a" * MOST_CHARACTERS


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(), max_size=50))
async def test_any_text_can_be_recorded(tables: Tables, connection: str, text: str) -> None:
    await AuditStore(tables, connection).add(entry(who=f"{text}\ud800", object=text))
    assert await AuditStore(tables, connection).newest(1)
