"""Checking a settings document: every fault, with its path, all at once."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from local.tls import CertificateAuthority
from store.document import Settings
from store.validation import (
    MAX_BYTES,
    NUMBER_PROPERTIES,
    InvalidSettings,
    Problem,
    parse_settings,
    settings_schema,
)

GROUP = "99999999-9999-4999-8999-999999999999"


def problems(document: Any) -> list[Problem]:
    """What is wrong with ``document``; nothing when it is taken."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    try:
        parse_settings(body)
    except InvalidSettings as error:
        return list(error.problems)
    return []


def paths(document: Any) -> list[str]:
    return [problem.path for problem in problems(document)]


def nested(path: str, value: Any) -> dict[str, Any]:
    """A document with ``value`` at ``path``."""
    for name in reversed(path.strip("/").split("/")):
        value = {name: value}
    return dict(value)


def merged(*documents: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for document in documents:
        for name, value in document.items():
            both = isinstance(value, dict) and isinstance(result.get(name), dict)
            result[name] = merged(result[name], value) if both else value
    return result


# What is taken


def test_an_empty_document_is_the_defaults() -> None:
    assert parse_settings(b"{}") == Settings()


def test_the_defaults_are_the_documented_ones() -> None:
    assert json.loads(msgspec.json.encode(Settings())) == {
        "microsoft": {"tenant_id": "", "client_id": "", "credential": "secret"},
        "pbx": {"fqdn": "", "client_id": "", "ca_certificate": None, "max_writes_per_second": 4},
        "schedule": {
            "kind": "daily", "days": [], "at": "00:30", "time_zone": "UTC", "change_delay_minutes": 10,
            "change_count": 10, "poll_minutes": 60,
        },
        "users": {
            "enabled": False, "scope": {"kind": "all", "user_types": [], "group_ids": []},
            "number": {"kind": "sequential", "start": 1000, "property": None}, "delete_when": ["disabled", "deleted"],
            "delete_out_of_scope": False, "delete_grace_days": 0, "associate_by_email": False,
            "send_welcome_email": False,
        },
        "groups": {
            "enabled": False, "scope": {"kind": "all", "group_types": [], "group_ids": []},
            "delete_out_of_scope": False, "associate_by_name": False,
        },
        "guard": {"max_deletions": 20, "max_deletion_percent": 20},
        "console": {"setup_key": True},
        "presence": {
            "enabled": False, "users": "all", "group_ids": [],
            "default_map": {
                "Available": "available", "AvailableIdle": "available", "Away": "away", "BeRightBack": "away",
                "Busy": "away", "BusyIdle": "away", "DoNotDisturb": "do_not_disturb", "Focusing": "away",
                "InACall": "away", "InAConferenceCall": "away", "InAMeeting": "away", "Inactive": "away",
                "OffWork": "leave", "Offline": "leave", "OutOfOffice": "off_work", "PresenceUnknown": "leave",
                "Presenting": "do_not_disturb", "UrgentInterruptionsOnly": "do_not_disturb",
            },
            "poll_seconds": 30, "respect_manual": True,
        },
    }  # fmt: skip


def test_a_full_document_is_read(tmp_path: Any) -> None:
    pem = CertificateAuthority(tmp_path).certificate_file.read_text()
    document = {
        "microsoft": {"tenant_id": "contoso.onmicrosoft.com", "client_id": GROUP, "credential": "federated"},
        "pbx": {"fqdn": "pbx.example.com:8088", "client_id": "api", "ca_certificate": f"Zürich CA\n{pem}"},
        "schedule": {"kind": "weekly", "days": ["mon", "sun"], "at": "23:59", "time_zone": "Europe/Amsterdam"},
        "users": {
            "enabled": True,
            "scope": {"kind": "groups", "group_ids": [GROUP]},
            "number": {"kind": "property", "property": "onPremisesExtensionAttributes.extensionAttribute15"},
            "delete_when": [],
        },
        "guard": {"max_deletions": 0, "max_deletion_percent": 0.5},
    }
    taken = msgspec.to_builtins(parse_settings(json.dumps(document).encode()))
    assert merged(taken, document) == taken


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert parse_settings(b'{"users": {"number": {"start": 2000.0}}}').users.number.start == 2000


# What is refused, and how


WRONG: list[tuple[str, Any]] = [
    ("/unknown", 1),
    ("/a~1b", 1),
    ("/a~0b", None),
    ("/microsoft", []),
    ("/microsoft/secret", "x"),
    ("/microsoft/tenant_id", "two words"),
    ("/microsoft/tenant_id", None),
    ("/microsoft/client_id", "contoso.example"),
    ("/microsoft/credential", "password"),
    ("/pbx/fqdn", "https://pbx.example.com"),
    ("/pbx/fqdn", "pbx.example.com:0"),
    ("/pbx/fqdn", "pbx.example.com:65536"),
    ("/pbx/fqdn", "pbx.example.com/path"),
    ("/pbx/fqdn", "user@pbx.example.com"),
    ("/pbx/fqdn", "pbx.example.com\n"),
    ("/pbx/fqdn", f"{'a' * 64}.example.com"),
    ("/pbx/fqdn", f"{'a.' * 130}example"),
    ("/pbx/fqdn", "pbx.example.com:\u0668\u0660\u0668\u0668"),
    ("/pbx/client_id", 5),
    ("/pbx/ca_certificate", "no certificate"),
    ("/pbx/ca_certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"),
    ("/pbx/ca_certificate", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
    ("/pbx/ca_certificate", True),
    ("/pbx/max_writes_per_second", 0),
    ("/pbx/max_writes_per_second", 1001),
    ("/pbx/max_writes_per_second", "4"),
    ("/schedule/kind", "monthly"),
    ("/schedule/days/0", "monday"),
    ("/schedule/at", "24:00"),
    ("/schedule/at", "9:30"),
    ("/schedule/at", "\u0660\u0660:\u0663\u0660"),
    ("/schedule/time_zone", "Europe/Atlantis"),
    ("/schedule/time_zone", "../../etc/passwd"),
    ("/schedule/change_delay_minutes", -1),
    ("/schedule/change_delay_minutes", 1.5),
    ("/schedule/change_count", 0),
    ("/users/enabled", "yes"),
    ("/users/scope/kind", "some"),
    ("/users/scope/user_types/0", "Robot"),
    ("/users/scope/group_ids/0", "not-a-guid"),
    ("/users/scope/group_ids/0", 7),
    ("/users/number/start", 0),
    ("/users/number/start", 10_000_000),
    ("/users/number/start", True),
    ("/users/number/property", "displayName"),
    ("/users/delete_when/0", "bored"),
    ("/groups/scope/group_types/0", "distribution"),
    ("/guard/max_deletions", -1),
    ("/guard/max_deletions", 2**70),
    ("/guard/max_deletion_percent", 100.1),
    ("/console/setup_key", "yes"),
    ("/console/password", "x"),
    ("/presence/users", "some"),
    ("/presence/default_map/Busy", "dnd"),
    ("/presence/default_map/Sleeping", "away"),
    ("/presence/poll_seconds", 9),
    ("/presence/poll_seconds", 3601),
]


def placed(path: str, value: Any) -> dict[str, Any]:
    """As ``nested``, with the last part an index where it is a number, and JSON-pointer escapes undone."""
    parent, _, last = path.rpartition("/")
    if last == "0":
        return nested(parent, [value])
    name = last.replace("~1", "/").replace("~0", "~")
    return nested(parent, {name: value}) if parent else {name: value}


@pytest.mark.parametrize(("path", "value"), WRONG, ids=[f"{path}={str(value)[:20]!r}" for path, value in WRONG])
def test_a_wrong_member_is_reported_with_its_path_and_nothing_else_is(path: str, value: Any) -> None:
    found = problems(placed(path, value))
    assert [problem.path for problem in found] == [path]
    assert found[0].message


@given(st.lists(st.sampled_from(WRONG), unique_by=lambda wrong: tuple(wrong[0].split("/")[1:3]), min_size=2))
@settings(max_examples=60, deadline=None)
def test_as_many_problems_are_reported_as_there_are_faults(wrong: list[tuple[str, Any]]) -> None:
    wholes = {path for path, _ in wrong if path.count("/") == 1}
    chosen = [(path, value) for path, value in wrong if path in wholes or f"/{path.split('/')[1]}" not in wholes]
    document = merged(*(placed(path, value) for path, value in chosen))
    assert sorted(paths(document)) == sorted(path for path, _ in chosen)


def test_faults_of_form_and_of_sense_in_one_list_keep_their_places() -> None:
    document = placed("/users/scope/group_ids/0", 1)
    document["users"]["scope"]["group_ids"] += ["x", GROUP, None, GROUP.upper()]
    document["schedule"] = {"days": ["someday", "mon", "tue", "mon"]}
    assert sorted(paths(document)) == [
        "/schedule/days/0",
        "/schedule/days/3",
        *(f"/users/scope/group_ids/{index}" for index in (0, 1, 3, 4)),
    ]


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"schedule": {"kind": "weekly"}}, "/schedule/days"),
        ({"schedule": {"days": ["mon", "mon"]}}, "/schedule/days/1"),
        ({"users": {"scope": {"kind": "types"}}}, "/users/scope/user_types"),
        ({"users": {"scope": {"kind": "types", "user_types": ["Guest", "Guest"]}}}, "/users/scope/user_types/1"),
        ({"users": {"scope": {"kind": "groups"}}}, "/users/scope/group_ids"),
        ({"users": {"scope": {"kind": "all", "group_ids": [GROUP, GROUP]}}}, "/users/scope/group_ids/1"),
        ({"users": {"number": {"kind": "property"}}}, "/users/number/property"),
        ({"users": {"delete_when": ["deleted", "deleted"]}}, "/users/delete_when/1"),
        ({"groups": {"scope": {"kind": "types"}}}, "/groups/scope/group_types"),
        ({"groups": {"scope": {"kind": "groups"}}}, "/groups/scope/group_ids"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_members_have_to_fit_each_other(document: Any, path: str) -> None:
    assert paths(document) == [path]


def test_a_wrong_list_is_not_also_called_empty() -> None:
    assert paths({"users": {"scope": {"kind": "groups", "group_ids": 5}}}) == ["/users/scope/group_ids"]
    assert paths({"users": {"number": {"kind": "property", "property": 5}}}) == ["/users/number/property"]
    assert paths({"users": {"scope": {"kind": "groups", "group_ids": [5]}}}) == ["/users/scope/group_ids/0"]


@pytest.mark.parametrize("name", NUMBER_PROPERTIES)
def test_every_listed_property_may_hold_the_number(name: str) -> None:
    assert problems({"users": {"number": {"kind": "property", "property": name}}}) == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"NaN", b'{"guard": {"max_deletions": NaN}}', b'{"guard": {"max_deletions": 1e400}}',
        b"\xff\xfe", b'{"pbx": {"fqdn": "\xff"}}', b'{"pbx": {"client_id": "\\ud800"}}', b"[" * 100_000,
        b'{"a":' * 50_000, b"[]", b"null", b"5", b'"text"', b"[" * 500 + b"]" * 500,
        b"{" + b" " * MAX_BYTES + b"}",
    ],
)  # fmt: skip
def test_a_body_that_is_no_document_is_one_problem_at_the_top(body: bytes) -> None:
    assert paths(body) == [""]


def test_a_body_of_the_largest_size_is_taken() -> None:
    assert problems(b"{" + b" " * (MAX_BYTES - 2) + b"}") == []


def test_the_message_says_what_would_be_right() -> None:
    document = {"schedule": {"kind": 1, "change_count": 0}, "pbx": {"max_writes_per_second": 0, "ca_certificate": 1}}
    assert {problem.path: problem.message for problem in problems(document)} == {
        "/schedule/kind": "has to be one of daily, weekly",
        "/schedule/change_count": "has to be 1 or more",
        "/pbx/max_writes_per_second": "has to be 0.5 or more",
        "/pbx/ca_certificate": "has to be null or a text",
    }


def test_no_problem_repeats_what_was_sent() -> None:
    secret = "pasted-into-the-wrong-field"
    document = {
        "microsoft": {"tenant_id": f"{secret} ", "client_id": secret, "credential": secret},
        "pbx": {"fqdn": f"{secret}/", "ca_certificate": secret},
        "users": {"scope": {"group_ids": [secret]}, "number": {"property": secret}},
    }
    with pytest.raises(InvalidSettings) as caught:
        parse_settings(json.dumps(document).encode())
    assert len(caught.value.problems) == 7
    assert secret not in str(caught.value)


# Properties

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def members(kind: Any) -> Any:
    """Documents that look right: known members, with values of any kind among valid ones."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = {field.name: members(field.type) for field in msgspec.structs.fields(kind)}
        return st.fixed_dictionaries({}, optional=fields)
    return json_values | st.sampled_from(["", "all", "types", "groups", "weekly", "property", GROUP, "00:30", [GROUP]])


@given(json_values | members(Settings))
@example({"users": {"scope": {"kind": "groups", "group_ids": [None, [], {}]}}})
@settings(max_examples=150, deadline=None)
def test_any_json_value_is_taken_or_explained(value: Any) -> None:
    body = json.dumps(value).encode()
    found = problems(body)
    assert all(problem.message and problem.path[:1] in {"", "/"} for problem in found)
    if not found:
        taken = parse_settings(body)
        assert parse_settings(msgspec.json.encode(taken)) == taken


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_taken_or_explained(body: bytes) -> None:
    problems(body)


@given(st.text(st.sampled_from("aA0-.:\n "), max_size=400))
@settings(deadline=500)
def test_checking_a_host_name_takes_no_time(text: str) -> None:
    problems({"pbx": {"fqdn": text}, "microsoft": {"tenant_id": text * 50}})


def test_the_schema_is_the_one_that_is_published() -> None:
    schema = settings_schema()
    assert schema["$defs"]["Settings"]["additionalProperties"] is False
    assert set(schema["$defs"]["Settings"]["properties"]) == set(Settings.__struct_fields__)
