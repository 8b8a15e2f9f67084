"""Who is written next: always the newest who is free."""

from hypothesis import given
from hypothesis import strategies as st

from presence.waiting import Waiting

users = st.sampled_from("abcde")
moments = st.sampled_from(["", "2026-03-02T09:00:00.000+00:00", "2026-03-02T09:00:01.000+00:00"])


@given(st.lists(st.tuples(users, moments, st.integers(0, 2)), max_size=20), st.sets(users))
def test_the_newest_is_first_and_nobody_is_twice(added: list[tuple[str, str, int]], busy: set[str]) -> None:
    waiting = Waiting()
    best: dict[str, tuple[str, int, int]] = {}
    for number, (user, moment, turn) in enumerate(added):
        waiting.add(user, moment, turn)
        best[user] = max(best.get(user, ("", 0, -1)), (moment, turn, number))
        assert len(waiting) == len(best)
        assert user in waiting
    order: list[str] = []
    while (taken := waiting.take_newest(busy)) is not None:
        order.append(taken)
        assert taken not in waiting
    assert order == sorted(best.keys() - busy, key=lambda one: best[one], reverse=True)
    assert sorted(waiting.clear()) == sorted(best.keys() & busy)
    assert len(waiting) == 0


def test_who_was_busy_has_his_turn_later() -> None:
    waiting = Waiting()
    for user in "ab":
        waiting.add(user, "")
    assert waiting.take_newest({"b"}) == "a"
    assert waiting.take_newest({"b"}) is None
    waiting.add("a", "")
    assert [waiting.take_newest(), waiting.take_newest()] == ["a", "b"]
