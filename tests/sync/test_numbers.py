"""Extension numbers out of properties, and the free ones in their order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.models import User
from store.validation import NUMBER_PROPERTIES
from sync.numbers import LAST, Numbers, Unusable, number_from


def with_phone(text: str | None) -> User:
    return User(id="user-1", business_phones=None if text is None else [text])


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("2041", "2041"),
        ("0041", "0041"),
        (" 20 41 ", "2041"),
        ("+31 20 123 4567 ext. 2041", "2041"),
        ("+31 20 123 4567;ext=2041", "2041"),
        ("0201234567x2041", "2041"),
        ("7", "7"),
        ("1234567", "1234567"),
        ("٢٠٤١", "2041"),
    ],
)
def test_the_digits_of_the_property_or_of_its_extension_part_are_the_number(value: str, number: str) -> None:
    assert number_from(with_phone(value), "businessPhones") == number


@pytest.mark.parametrize("value", [None, "", "  ", "\u200b"])
def test_an_empty_property_gives_no_number_and_says_so(value: str | None) -> None:
    found = number_from(with_phone(value), "businessPhones")
    assert found == Unusable("The property businessPhones, which holds the extension number, is empty.")


@pytest.mark.parametrize(
    ("value", "why"),
    [("none", "no digits"), ("12345678", "at most 7"), ("+31 20 123 4567 ext 12345678", "at most 7")],
)
def test_a_value_that_is_no_extension_number_says_why(value: str, why: str) -> None:
    found = number_from(with_phone(value), "businessPhones")
    assert isinstance(found, Unusable)
    assert why in found.reason
    assert repr(value) in found.reason


@pytest.mark.parametrize("name", sorted(NUMBER_PROPERTIES))
def test_every_property_that_the_settings_allow_is_read(name: str) -> None:
    group, _, member = name.partition(".")
    snake = "".join(f"_{char.lower()}" if char.isupper() else char for char in group)
    value = {member: "2041"} if member else ["2041"] if name == "businessPhones" else "2041"
    user = User(id="user-1", **{snake: value})  # type: ignore[arg-type]
    assert number_from(user, name) == "2041"


@settings(deadline=None)
@given(st.text(max_size=40))
def test_a_number_is_always_one_to_seven_ascii_digits(text: str) -> None:
    found = number_from(with_phone(text), "businessPhones")
    assert isinstance(found, Unusable) or (found.isascii() and found.isdigit() and len(found) <= 7)


@settings(deadline=None)
@given(st.sets(st.integers(1, 30).map(str)), st.integers(1, 20), st.integers(1, 15))
def test_free_numbers_come_in_order_and_each_once(taken: set[str], start: int, count: int) -> None:
    numbers = Numbers(taken, start)
    given_out = [numbers.first_free() for _ in range(count)]
    free = [str(number) for number in range(start, start + 60) if str(number) not in taken]
    assert given_out == free[:count]


def test_there_is_no_number_beyond_seven_digits() -> None:
    numbers = Numbers({str(LAST)}, LAST - 1)
    assert [numbers.first_free(), numbers.first_free()] == ["9999998", None]


def test_a_number_that_somebody_takes_is_not_given_out_as_free() -> None:
    numbers = Numbers((), 1000)
    numbers.take("1000")
    assert numbers.is_taken("1000")
    assert numbers.first_free() == "1001"


def test_a_number_that_becomes_free_in_the_same_plan_is_given_out_last() -> None:
    numbers = Numbers((), LAST - 1, later={str(LAST), "5", "0999"})
    assert not numbers.is_taken(str(LAST))
    assert [numbers.first_free() for _ in range(3)] == ["9999998", "9999999", None]


def test_a_number_given_back_can_be_had_by_name() -> None:
    numbers = Numbers({"1000"}, 1000)
    numbers.give_back("1000")
    assert not numbers.is_taken("1000")
    assert numbers.first_free() == "1001"
