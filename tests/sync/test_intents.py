"""Creates whose answer was lost: adopted when the PBX has them, forgotten when it has not."""

import pytest

from store.links import Link
from sync.intents import is_same, settle
from sync.plan import Extension

FIELDS = {"first_name": "Noor", "last_name": "Bakker", "email_addr": "noor@x.example"}
NAMELESS = {"first_name": "Noor", "last_name": "Bakker", "email_addr": ""}


def intent(object_id: str = "user-1", number: str = "1000", written: dict[str, str] = FIELDS) -> Link:
    return Link(object_id=object_id, state="intent", number=number, written=written)


def extension(pbx_id: int = 7, number: str = "1000", **fields: str) -> Extension:
    values = {**FIELDS, **fields}
    return Extension(pbx_id, number, values["email_addr"], values)


def test_a_create_that_happened_is_adopted() -> None:
    settled = settle([intent()], {7: extension()})
    assert settled["user-1"].state == "linked"
    assert settled["user-1"].pbx_id == 7
    assert settled["user-1"].written == FIELDS


def test_a_create_that_did_not_happen_is_forgotten() -> None:
    assert settle([intent()], {}) == {}


def test_an_extension_of_somebody_else_with_the_number_is_not_adopted() -> None:
    assert settle([intent()], {7: extension(email_addr="other@x.example")}) == {}


def test_an_extension_that_another_user_is_linked_to_is_not_adopted() -> None:
    other = Link(object_id="user-2", pbx_id=7, number="1000")
    assert settle([intent(), other], {7: extension()}) == {"user-2": other}


def test_two_intents_never_get_the_same_extension() -> None:
    settled = settle([intent(), intent("user-2")], {7: extension()})
    assert list(settled) == ["user-1"]


@pytest.mark.parametrize("state", ["linked", "released"])
def test_links_that_are_no_intents_stay_as_they_are(state: str) -> None:
    link = Link(object_id="user-1", state=state, pbx_id=3, number="1003")  # type: ignore[arg-type]
    assert settle([link], {}) == {"user-1": link}


def test_the_address_decides_in_any_case_of_its_letters() -> None:
    assert is_same(FIELDS, extension(email_addr="NOOR@x.example", first_name="Nora"))
    assert not is_same(FIELDS, extension(email_addr=""))


def test_without_an_address_the_names_decide() -> None:
    assert is_same(NAMELESS, extension(email_addr=""))
    assert not is_same(NAMELESS, extension(email_addr="", last_name="Visser"))
    assert not is_same(NAMELESS, Extension(7, "1000"))
