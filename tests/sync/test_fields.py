"""What becomes of names, addresses and numbers that the PBX would not take."""

import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graph.models import User
from sync.fields import Desired, clean, desired, display_name

EMAIL = re.compile(r"^$|^[A-Za-z0-9_][A-Za-z0-9_.'-]*@[A-Za-z0-9_.-]+\.[A-Za-z0-9]{2,}$")
MOBILE = re.compile(r"^$|^[0-9A-Za-z().+*#-]{1,31}$")

awkward = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("aé \t\n\u00a0\u0301\u0327\u200b\u200c\u200d\u200e\u202e\ufeff\u2028\x00\x1b👩💻🏽\ufe0f🇳🇱"),
    ),
    max_size=90,
)
addresses = st.one_of(awkward, st.from_regex(r"[A-Za-z0-9_.'+-]{1,260}@[a-z.-]{1,8}\.[a-z]{1,4}", fullmatch=True))
phones = st.one_of(awkward, st.text("0123456789 +()-./;#*x,extor\u202a", max_size=45))
optional = st.one_of(st.none(), awkward)


@st.composite
def people(draw: st.DrawFn) -> User:
    return User(
        id="aaaa0001-0000-4000-8000-000000000001",
        user_principal_name=draw(st.sampled_from([None, "noor@contoso.example"])),
        display_name=draw(optional),
        given_name=draw(optional),
        surname=draw(optional),
        mail=draw(st.one_of(st.none(), addresses)),
        mobile_phone=draw(st.one_of(st.none(), phones)),
        job_title=draw(optional),
    )


def person(**properties: str | None) -> User:
    return User(id="aaaa0001-0000-4000-8000-000000000001", **properties)  # type: ignore[arg-type]  # names are chosen by tests


def phone(text: str) -> Desired:
    return desired(person(given_name="Noor", mobile_phone=text))


@settings(deadline=None, max_examples=300)
@given(people())
def test_whatever_entra_holds_the_pbx_takes(user: User) -> None:
    made = desired(user)
    assert made.first_name or made.last_name
    assert max(len(made.first_name), len(made.last_name), len(made.title)) <= 63
    assert EMAIL.fullmatch(made.email_addr)
    assert len(made.email_addr) <= 255
    assert MOBILE.fullmatch(made.mobile_number)
    for value in made.fields().values():
        assert value == value.strip()
        assert not any(unicodedata.category(char) in {"Cc", "Zl", "Zp"} or char in "\u202e\u200b" for char in value)


@settings(deadline=None, max_examples=200)
@given(people())
@example(person(mobile_phone="#0/"))
@example(person(mobile_phone="1#2#3/"))
def test_what_was_made_to_fit_once_is_not_touched_again(user: User) -> None:
    made = desired(user)
    again = desired(
        person(
            given_name=made.first_name,
            surname=made.last_name,
            mail=made.email_addr,
            mobile_phone=made.mobile_number,
            job_title=made.title,
        )
    )
    assert again.fields() == made.fields()
    assert again.notes == ()


@settings(deadline=None, max_examples=300)
@given(people())
def test_a_note_is_there_exactly_when_something_differs_from_entra(user: User) -> None:
    made = desired(user)
    sources = {
        "first name": (user.given_name, made.first_name),
        "last name": (user.surname, made.last_name),
        "e-mail": (user.mail, made.email_addr),
        "mobile number": (user.mobile_phone, made.mobile_number),
        "job title": (user.job_title, made.title),
    }
    if not clean(user.given_name) and not clean(user.surname):
        del sources["first name"], sources["last name"]
    for what, (before, after) in sources.items():
        is_changed = unicodedata.normalize("NFC", before or "") != after
        assert any(what in note for note in made.notes) == is_changed, what


def test_ordinary_values_pass_without_a_note() -> None:
    made = desired(
        person(
            given_name="Seán",
            surname="O'Brien-de Vries",
            mail="sean.o'brien@contoso.example",
            mobile_phone="+31600000001",
            job_title="Driver",
        )
    )
    assert made.fields() == {
        "first_name": "Seán",
        "last_name": "O'Brien-de Vries",
        "email_addr": "sean.o'brien@contoso.example",
        "mobile_number": "+31600000001",
        "title": "Driver",
    }
    assert made.notes == ()


def test_a_user_without_names_is_called_by_the_display_name() -> None:
    made = desired(person(display_name="Meeting room Delft"))
    assert (made.first_name, made.last_name) == ("Meeting room Delft", "")


def test_a_user_without_any_name_is_called_by_the_sign_in_name_or_else_by_the_id() -> None:
    assert desired(person(user_principal_name="svc@contoso.example")).first_name == "svc@contoso.example"
    assert desired(person(given_name="\u200b", display_name=" ")).first_name == "aaaa0001-0000-4000-8000-000000000001"


def test_one_name_alone_is_enough() -> None:
    made = desired(person(surname="Prince", display_name="The Artist"))
    assert (made.first_name, made.last_name) == ("", "Prince")


def test_lists_show_the_display_name_and_fall_back_to_the_names() -> None:
    assert display_name(person(display_name="Noor B.", given_name="Noor")) == "Noor B."
    assert display_name(person(given_name="Noor", surname="Bakker")) == "Noor Bakker"


def test_an_emoji_of_several_parts_stays_whole() -> None:
    made = desired(person(given_name="Noor 👩\u200d💻"))
    assert made.first_name == "Noor 👩\u200d💻"
    assert made.notes == ()


def test_a_persian_name_keeps_its_spelling() -> None:
    name = "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627"  # Alireza, its two parts apart
    assert desired(person(given_name=name)).first_name == name


@pytest.mark.parametrize("tail", ["e\u0328\u0301", "👩\u200d💻", "👋🏽"])
def test_a_name_that_is_too_long_is_never_cut_inside_a_character(tail: str) -> None:
    whole = unicodedata.normalize("NFC", tail)
    made = desired(person(given_name="x" * (64 - len(whole)) + whole))
    assert made.first_name == "x" * (64 - len(whole))
    assert made.notes == ("The first name was shortened to 63 characters.",)


def test_a_name_of_accents_only_is_still_cut_to_its_length() -> None:
    assert len(desired(person(given_name="\u0301" * 200)).first_name) == 63


def test_the_same_letters_written_in_two_ways_are_the_same_name() -> None:
    decomposed, composed = desired(person(given_name="Rene\u0301")), desired(person(given_name="René"))
    assert decomposed == composed


def test_marks_of_direction_and_control_characters_are_left_out_with_a_note() -> None:
    made = desired(person(given_name="\u202eNo\x07or\u200e", job_title="Chef\r\nde cuisine"))
    assert (made.first_name, made.title) == ("Noor", "Chef de cuisine")
    assert made.notes == (
        "Blanks or invisible characters were left out of the first name.",
        "Blanks or invisible characters were left out of the job title.",
    )


@pytest.mark.parametrize(
    "address",
    ["noor+pbx@contoso.example", "nöor@contoso.example", "noor@contoso", "a b@contoso.example", "x" * 251 + "@y.nl"],
)
def test_an_address_the_pbx_does_not_take_is_left_out_and_named(address: str) -> None:
    made = desired(person(given_name="Noor", mail=address))
    assert made.email_addr == ""
    assert address in made.notes[0]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+31 6 1234 5678", "+31612345678"),
        ("+31 (0)20 123 4567", "+31(0)201234567"),
        ("0711/123456", "0711123456"),
        ("06 0000 0046 / 06 0000 0047", "0600000046"),
        ("0600000046/0600000047", "0600000046"),
        ("0151/0001234", "01510001234"),
        ("030/0012345", "0300012345"),
        ("089 / 123456", "089123456"),
        ("06/12345678", "0612345678"),
        ("+31/60/0000097", "+31600000097"),
        ("+49 (151) 000/0003", "+49(151)0000003"),
        ("+31 6 1234 / 5678", "+31612345678"),
        ("+31600000046; +31600000047", "+31600000046"),
        ("+31600000046 or +31600000047", "+31600000046"),
        ("+31600000046 +31600000047", "+31600000046"),
        ("+31 20 123 4567 ext. 2041", "+31201234567"),
        ("+31 20 123 4567;ext=2041", "+31201234567"),
        ("0201234567x2041", "0201234567"),
        ("020 123 4567 #2041", "0201234567"),
        ("mobile: 06 1234 5678 (private)", "0612345678"),
        ("\u202a+31 6 1234 5678\u202c", "+31612345678"),
        ("+٣١٦١٢٣٤", "+3161234"),
    ],
)
def test_a_mobile_number_is_written_as_one_can_dial_it(text: str, number: str) -> None:
    made = phone(text)
    assert made.mobile_number == number
    assert any("mobile number" in note for note in made.notes)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ask reception", "has no digits"),
        ("1234567890123456", "has more than 15 digits"),
        ("0800-FLOWERS", "has letters in it"),
        ("(" * 20 + "1" + ")" * 20, "is longer than 31 characters"),
    ],
)
def test_a_mobile_number_that_cannot_be_dialled_is_left_out_whole(text: str, why: str) -> None:
    made = phone(text)
    assert made.mobile_number == ""
    assert made.notes == (f"The mobile number {text} was left out: it {why}.",)
