"""The vendor's rules for passwords, checked on what is made."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.passwords import new_password


def breaks_a_rule(password: str) -> str:
    """Which of the documented rules ``password`` breaks."""
    runs = [password[index : index + 4] for index in range(len(password) - 3)]
    digits = [run for run in runs if run.isdigit()]
    rules = {
        "length": 10 <= len(password) <= 63,
        "digit": re.search(r"[0-9]", password),
        "upper": re.search(r"[A-Z]", password),
        "lower": re.search(r"[a-z]", password),
        "ascii": re.fullmatch(r"[A-Za-z0-9]+", password),
        "four digits in sequence": not any(run in "0123456789" or run in "9876543210" for run in digits),
        "four equal digits": not any(len(set(run)) == 1 for run in digits),
    }
    return ", ".join(name for name, holds in rules.items() if not holds)


@settings(deadline=None, max_examples=200)
@given(st.text("0123456789", min_size=1, max_size=7), st.text(max_size=20), st.text(max_size=20))
def test_a_password_keeps_every_rule_whoever_it_is_for(number: str, first: str, last: str) -> None:
    password = new_password([number, first, last])
    assert breaks_a_rule(password) == ""
    for word in (number, first, last):
        assert not word or word.casefold() not in password.casefold()


@pytest.mark.parametrize("words", [["1", "A", "e"], ["0", "X", "x"], ["9", "é", "Z"], ["", "", ""]])
def test_names_of_one_letter_and_numbers_of_one_digit_leave_room_for_a_password(words: list[str]) -> None:
    for _ in range(50):
        password = new_password(words)
        assert breaks_a_rule(password) == ""
        assert not any(word and word.casefold() in password.casefold() for word in words)


def test_no_two_passwords_are_alike() -> None:
    assert len({new_password(["1000", "Noor", "Bakker"]) for _ in range(200)}) == 200
