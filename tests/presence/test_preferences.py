"""Single users: who decides about them, and what becomes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence.mapping import follows
from presence.poll import carry_out
from presence.preferences import UnknownState, set_preferences
from store.document import Presence
from store.presence import Preference
from tests.presence.desk import Desk


async def test_somebody_who_declines_is_left_alone_and_followed_again_when_he_likes(desk: Desk) -> None:
    [noor, finn] = await desk.staff(2)
    decided = await set_preferences(desk.room, [noor], follows="off", by="person")
    assert [(row.object_id, row.is_followed) for row in decided.changed] == [(noor, False)]
    assert decided.updates == []
    for one in (noor, finn):
        desk.teams(one, "Busy")
    await desk.poll()
    assert desk.shown() == {"1000": "available", "1001": "away"}
    back = await set_preferences(desk.room, [noor], follows="rule", by="person")
    assert back.changed[0].is_followed
    desk.later(minutes=1)
    await desk.poll()
    assert desk.shown()["1000"] == "away"


async def test_an_own_map_counts_at_once(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    desk.teams(noor, "Busy")
    await desk.poll()
    decided = await set_preferences(desk.room, [noor], own_map={"Busy": "lunch"}, by="person")
    for update in decided.updates:
        await carry_out(desk.room, update)
    assert desk.shown()["1000"] == "lunch"
    assert (await set_preferences(desk.room, [noor], own_map={"Busy": "lunch"}, by="person")).changed == []
    row = await desk.record(noor)
    assert row.preference == Preference(map={"Busy": "lunch"}, set_by="person", set_at=row.preference.set_at)


async def test_an_administrator_decides_about_many(desk: Desk) -> None:
    await desk.rules(users="groups", group_ids=[])
    ids = await desk.world.staff(60)
    await desk.poll()
    assert not any(row.is_followed for row in (await desk.room.store.all()).values())
    decided = await set_preferences(desk.room, [*ids, ids[0], "nobody"], follows="on", by="administrator")
    assert len(decided.changed) == 60
    assert all(row.is_followed for row in decided.changed)
    repeated = await set_preferences(desk.room, ids[:1], follows="on", own_map={"Busy": "lunch"}, by="person")
    assert repeated.changed[0].is_followed
    assert repeated.changed[0].preference.set_by == "administrator"
    await set_preferences(desk.room, ids[:1], follows="rule", by="person")
    asked = await set_preferences(desk.room, ids[:1], follows="on", by="person")
    assert not asked.changed[0].is_followed, "where the rules name groups, asking is not enough"


async def test_a_map_with_a_made_up_name_is_refused(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    with pytest.raises(UnknownState, match="Sleeping"):
        await set_preferences(desk.room, [noor], own_map={"Sleeping": "away"}, by="person")
    assert (await desk.record(noor)).preference == Preference()


async def test_what_was_decided_outlives_the_extension(desk: Desk) -> None:
    [noor] = await desk.world.staff(1)
    await desk.poll()
    await set_preferences(desk.room, [noor], follows="off", by="person")
    await desk.room.links.write(save=[], remove=[noor])
    desk.later(minutes=11)
    await desk.poll()
    row = await desk.record(noor)
    assert (row.pbx_id, row.preference.follows) == (None, False)


@given(
    decision=st.sampled_from([None, True, False]),
    by=st.sampled_from(["administrator", "person"]),
    users=st.sampled_from(["all", "groups", "opt_in"]),
    in_scope=st.booleans(),
)
def test_who_follows(decision: bool | None, by: str, users: str, in_scope: bool) -> None:
    is_by_rule = in_scope or users == "all"
    preference = Preference(follows=decision, set_by="" if decision is None else by)  # type: ignore[arg-type]
    answer = follows(preference, Presence(users=users), in_scope=is_by_rule)  # type: ignore[arg-type]
    if decision is False:
        assert not answer, "anybody may decline"
    elif decision is None:
        assert answer == is_by_rule
    elif by == "administrator":
        assert answer
    else:
        assert answer == (is_by_rule or users == "opt_in")
