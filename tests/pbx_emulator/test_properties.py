"""Whatever fits the document's schemas is accepted, and nothing else: the emulator against generated requests."""

import string
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from local.pbx.answers import Payload
from local.pbx.emulator import PbxEmulator
from local.pbx.firmware import Firmware
from local.pbx.groups import Group, GroupMember
from local.pbx.intake import Incoming
from local.pbx.passwords import weakness
from tests.pbx_emulator.api import AGENT, API
from tests.pbx_emulator.conftest import ADA, BOB
from tests.pbx_emulator.contract import SPEC, Contract, load_contract

pytestmark = pytest.mark.skipif(not SPEC.exists(), reason=f"the OpenAPI document is not at {SPEC}")

LEFT_OUT = {"organization_list"}
"""Whether it is refused depends on the PBX, not on its shape."""
WORD = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=70)
SCALAR = st.one_of(
    WORD, st.integers(-5, 100), st.booleans(), st.none(), st.just(1.5), st.just([]), st.just({}), st.just([1])
)
PASSWORD = st.text(string.ascii_letters + string.digits + "!#", min_size=7, max_size=70)
FITTING: Mapping[str, st.SearchStrategy[Any]] = {
    "user_password": PASSWORD.map(lambda text: f"aB3{text}"[:63]),
    "reg_password": PASSWORD.map(lambda text: f"aB3{text}"[:63]),
    "role_id": st.integers(0, 4),
    "title": st.text(st.characters(codec="utf-8"), max_size=63),
    "vm_pin": st.text(string.digits, max_size=8),
    "name": st.text(st.characters(codec="utf-8"), min_size=1, max_size=63),
    "members": st.lists(
        st.fixed_dictionaries(
            {"ext_id": st.integers(1, 2)},
            optional={"user_type": st.sampled_from(["manager", "user", "custom"]), "caller_id_name": WORD},
        ),
        unique_by=lambda member: member["ext_id"],
    ),
}
"""Where the document has more to say in words than in the schema."""


def emulator() -> PbxEmulator:
    switches = Firmware(new_password_rules=False, title_limit=10_000, extension_group_paths="both")
    return PbxEmulator([ADA, BOB], client_id="id", client_secret="secret", firmware=switches)


def ask(pbx: PbxEmulator, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> Payload:
    """The answer, through everything but https."""
    token = pbx.machine.tokens.issue(pbx.machine.clock.time()).access
    headers = CIMultiDict({**AGENT, "Content-Type": "application/json"})
    parameters = [("access_token", token), *(query or {}).items()]
    content = b"" if body is None else msgspec.json.encode(body)
    incoming = Incoming(1, method, f"{API}{path}", parameters, headers, content, "127.0.0.1")
    answer = pbx.dispatcher.answer(pbx.dispatcher.read(incoming))
    pbx.machine.tokens.clear()
    assert load_contract(SPEC).answer_violations(method, incoming.path, answer) == []
    return answer


def fitting(schema: dict[str, Any], name: str = "") -> st.SearchStrategy[Any]:
    """Values that ``schema`` of the document allows."""
    if name in FITTING:
        return FITTING[name]
    if "$ref" in schema:
        return fitting(load_contract(SPEC).document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "integer":
        return st.integers(schema.get("minimum", -1000), schema.get("maximum", 1000))
    if schema["type"] == "array":
        return st.lists(fitting(schema["items"]), min_size=schema.get("minItems", 0), max_size=3)
    if schema["type"] == "object":
        return fitting_object(schema)
    if "pattern" in schema:
        longest = schema.get("maxLength", 1000)
        return st.from_regex(schema["pattern"], fullmatch=True).filter(lambda text: len(text) <= longest)
    return st.text(
        st.characters(codec="utf-8"), min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 30)
    )


def fitting_object(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    required = schema.get("required", [])
    properties = {name: part for name, part in schema["properties"].items() if name not in LEFT_OUT}
    return st.fixed_dictionaries(
        {name: fitting(part, name) for name, part in properties.items() if name in required},
        optional={name: fitting(part, name) for name, part in properties.items() if name not in required},
    )


@cache
def bodies(component: str) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies that the document's component allows."""
    if not SPEC.exists():
        return st.just({})
    return fitting_object(load_contract(SPEC).document["components"]["schemas"][component])


@st.composite
def disturbed(draw: st.DrawFn, component: str) -> dict[str, Any]:
    """A fitting body with one member replaced by anything, removed, or added."""
    body = dict(draw(bodies(component)))
    name = draw(st.sampled_from([*sorted(body), "color"]) if body else st.just("color"))
    if draw(st.booleans()):
        body.pop(name, None)
    else:
        body[name] = draw(SCALAR)
    return body


def allowed(contract: Contract, component: str, body: dict[str, Any]) -> bool:
    schema = contract.document["components"]["schemas"][component]
    fits = contract.validator(f"/components/schemas/{component}").is_valid(body)
    return fits and not list(contract.undeclared(schema, body))


def refused_as_expected(answer: Payload, fits: bool) -> bool:
    """Whether the shape was refused exactly when it does not fit; that a PIN is digits the document says in words."""
    refused = answer["errcode"] in {40001, 40002}
    only_pin = refused and {entry["name"] for entry in answer["invalid_param_list"]} == {"vm_pin"}
    return refused != fits or only_pin


@settings(max_examples=150, deadline=None)
@given(bodies("ExtensionCreate"))
def test_every_create_that_the_schema_allows_is_accepted(body: dict[str, Any]) -> None:
    pbx = emulator()
    taken = body["number"] in {"1000", "1001"} or body["reg_name"] in {"1000", "1001"}
    answer = ask(pbx, "POST", "/extension/create", body)
    assert answer["errcode"] == (40003 if taken else 0), answer
    assert pbx.violations.found == []


@settings(max_examples=300, deadline=None)
@given(disturbed("ExtensionCreate"))
def test_a_create_is_refused_exactly_when_the_schema_refuses_it(body: dict[str, Any]) -> None:
    pbx = emulator()
    fits = allowed(load_contract(SPEC), "ExtensionCreate", body)
    answer = ask(pbx, "POST", "/extension/create", body)
    assert refused_as_expected(answer, fits)
    assert bool(pbx.violations.found) == (answer["errcode"] in {40001, 40002})


@settings(max_examples=150, deadline=None)
@given(bodies("ExtensionUpdate"))
def test_every_update_that_the_schema_allows_is_accepted_for_an_extension_that_exists(body: dict[str, Any]) -> None:
    pbx = emulator()
    body["id"] = 1
    body["reg_name"] = "own"
    answer = ask(pbx, "POST", "/extension/update", body)
    assert answer["errcode"] == 0, answer
    detail = ask(pbx, "GET", "/extension/get", query={"id": "1"})["data"]
    plain = {name for name in body if name in detail and name != "presence_list"}
    assert {name: detail[name] for name in plain} == {name: body[name] for name in plain}


@settings(max_examples=200, deadline=None)
@given(disturbed("ExtensionUpdate"))
def test_an_update_is_refused_exactly_when_the_schema_refuses_it(body: dict[str, Any]) -> None:
    if type(body.get("id")) is int:
        body["id"] = 1
    fits = allowed(load_contract(SPEC), "ExtensionUpdate", body)
    assert refused_as_expected(ask(emulator(), "POST", "/extension/update", body), fits)


def group_allowed(component: str, body: dict[str, Any]) -> bool:
    """What the schema allows, and what the document says in words: the length of names, members beside sel_specific."""
    return (
        allowed(load_contract(SPEC), component, body)
        and 1 <= len(body.get("name", "x")) <= 63
        and (body.get("member_select") != "sel_specific" or "members" in body)
    )


@settings(max_examples=200, deadline=None)
@given(disturbed("ExtGroupCreate"))
def test_a_group_is_created_exactly_when_the_document_allows_it(body: dict[str, Any]) -> None:
    pbx = emulator()
    answer = ask(pbx, "POST", "/extensiongroup/create", body)
    assert (answer["errcode"] == 0) == group_allowed("ExtGroupCreate", body), answer
    assert len(pbx.machine.groups) == (2 if answer["errcode"] == 0 else 1)
    assert bool(pbx.violations.found) == (answer["errcode"] != 0)


@settings(max_examples=200, deadline=None)
@given(disturbed("ExtGroupUpdate"))
def test_a_group_is_updated_exactly_when_the_document_allows_it(body: dict[str, Any]) -> None:
    pbx = emulator()
    before = pbx.machine.groups.add(Group(name="Sales", members=(GroupMember(1, "manager"),)))
    if type(body.get("id")) is int:
        body["id"] = before.id
    answer = ask(pbx, "POST", "/extension_group/update", body)
    assert (answer["errcode"] == 0) == group_allowed("ExtGroupUpdate", body), answer
    after = pbx.machine.group(before.id)
    assert (after == before) or answer["errcode"] == 0
    if answer["errcode"] == 0 and after.member_select == "sel_specific" and "members" in body:
        assert [member.ext_id for member in after.members] == [member["ext_id"] for member in body["members"]]


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["page", "page_size", "order_by"]),
        st.one_of(st.integers(-2, 20_000).map(str), WORD, st.sampled_from(["asc", "desc"])),
    )
)
def test_paging_is_refused_exactly_when_the_document_refuses_it(query: dict[str, str]) -> None:
    contract = load_contract(SPEC)
    declared = contract._parameters(contract.document["paths"]["/extension/list"]["get"], "query")
    fits = all(contract._fits(declared[name]["schema"], value) for name, value in query.items())
    answer = ask(emulator(), "GET", "/extension/list", query=query)
    assert (answer["errcode"] == 0) == fits, answer


@given(st.text(string.ascii_letters + string.digits, max_size=40), st.integers(0, 6), st.sampled_from([-1, 0, 1]))
def test_four_digits_in_a_row_make_any_password_weak(text: str, start: int, step: int) -> None:
    first = start if step >= 0 else start + 3
    run = "".join(str(first + step * index) for index in range(4))
    half = len(text) // 2
    assert weakness(f"aB{text[:half]}{run}{text[half:]}", ()) is not None


@given(st.text(string.ascii_letters, min_size=1, max_size=20), st.text("!#%&", max_size=10))
def test_a_name_inside_makes_a_password_weak_in_any_letter_case(name: str, noise: str) -> None:
    assert weakness(f"5aA{noise}{name.swapcase()}", ("", name)) is not None
    assert weakness(f"5aA{noise}", ("",)) is None
