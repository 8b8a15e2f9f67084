"""The drawing of what changed: it says what the numbers say."""

import datetime

from hypothesis import given
from hypothesis import strategies as st

from console.chart import FLOOR, KINDS, SEEN, WIDTH, drawn, numbers
from sync.history import Day

AMOUNTS = st.integers(0, 10) | st.integers(0, 100_000)


@st.composite
def months(draw: st.DrawFn) -> list[Day]:
    first = draw(st.dates(datetime.date(2020, 1, 1), datetime.date(2035, 1, 1)))
    length = draw(st.integers(0, 31))
    return [
        Day(date=(first + datetime.timedelta(days=index)).isoformat(), **{kind: draw(AMOUNTS) for kind in KINDS})
        for index in range(length)
    ]


@given(months())
def test_every_change_is_to_be_seen_and_nothing_is_drawn_outside(days: list[Day]) -> None:
    chart = drawn(days)
    expected = [kind for day in days for kind, number in numbers(day) if number]
    assert [block.kind for block in chart.blocks] == expected
    for block in chart.blocks:
        assert block.height >= SEEN
        assert block.y >= -0.1
        assert block.y + block.height <= FLOOR + 0.11
        assert block.x >= 0
        assert block.x + block.width <= WIDTH + 0.11


@given(months())
def test_the_table_and_the_sentence_have_the_same_sums_as_the_days(days: list[Day]) -> None:
    chart = drawn(days)
    for index, (kind, total) in enumerate(chart.totals.items()):
        assert total == sum(getattr(day, kind) for day in days) == sum(row[1][index] for row in chart.busy)
        assert f"{total:,} {kind}" in chart.words
    assert all(any(row[1]) for row in chart.busy)


def test_the_blocks_of_a_day_stand_upon_each_other() -> None:
    below, above = drawn([Day(date="2026-03-02", created=3, failed=1)]).blocks
    assert (below.kind, above.kind) == ("created", "failed")
    assert below.y + below.height == FLOOR
    assert round(above.y + above.height, 1) == below.y


def test_the_last_day_is_named_beneath_it() -> None:
    days = [Day(date=f"2026-03-{day:02}") for day in range(1, 31)]
    assert [label.words for label in drawn(days).labels] == ["2 Mar", "9 Mar", "16 Mar", "23 Mar", "30 Mar"]


def test_a_quiet_day_has_a_sentence_of_its_own() -> None:
    chart = drawn([Day(date="2026-03-02")])
    assert chart.words == "Nothing changed today."
    assert not chart.blocks
