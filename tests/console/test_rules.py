"""Documents as forms and forms as documents: nothing is lost on the way, whatever is stored or typed."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import FormData

from console.picker import Chosen, Picker
from console.rules import changed_since, fingerprint, sent_sheet, stored_sheet
from console.templating import page
from store.document import (
    Groups,
    GroupScope,
    Guard,
    Numbering,
    Schedule,
    Settings,
    Users,
    UserScope,
)
from store.settings import Stored
from store.validation import NUMBER_PROPERTIES, parse_settings
from tests.console.page import Page
from tests.console.site import HOSTILE

IDS = st.lists(st.uuids().map(str), unique=True, max_size=4)
NUMBERS = st.builds(
    Numbering,
    kind=st.sampled_from(["sequential", "property"]),
    start=st.integers(1, 9_999_999),
    property=st.none() | st.sampled_from(NUMBER_PROPERTIES),
).filter(lambda number: number.kind == "sequential" or number.property is not None)
USERS = st.builds(
    Users,
    enabled=st.booleans(),
    scope=st.builds(UserScope, user_types=st.lists(st.sampled_from(["Member", "Guest"]), unique=True), group_ids=IDS),
    number=NUMBERS,
    delete_when=st.lists(st.sampled_from(["disabled", "deleted"]), unique=True),
    delete_out_of_scope=st.booleans(),
    delete_grace_days=st.integers(0, 365),
    associate_by_email=st.booleans(),
    send_welcome_email=st.booleans(),
)
GROUPS = st.builds(
    Groups,
    enabled=st.booleans(),
    scope=st.builds(
        GroupScope, group_types=st.lists(st.sampled_from(["security", "microsoft365"]), unique=True), group_ids=IDS
    ),
    delete_out_of_scope=st.booleans(),
    associate_by_name=st.booleans(),
)
GUARDS = st.builds(
    Guard, max_deletions=st.integers(0, 1_000_000), max_deletion_percent=st.floats(0, 100).map(lambda x: round(x, 3))
)
SCHEDULES = st.builds(
    Schedule,
    kind=st.sampled_from(["daily", "weekly"]),
    days=st.lists(st.sampled_from(["mon", "wed", "sun"]), unique=True, min_size=1),
    at=st.times().map(lambda at: f"{at:%H:%M}"),
    time_zone=st.sampled_from(["UTC", "Europe/Amsterdam", "America/Argentina/Buenos_Aires", "Etc/GMT+5"]),
    change_delay_minutes=st.integers(0, 1440),
    change_count=st.integers(1, 10_000),
    poll_minutes=st.integers(5, 1440),
)
DOCUMENTS = st.builds(Settings, users=USERS, groups=GROUPS, guard=GUARDS, schedule=SCHEDULES)
PAGES = {"users.html": ("users", "guard"), "groups.html": ("groups", "guard"), "schedule.html": ("schedule",)}


class Kind(msgspec.Struct):
    path: str


def form_of(template: str, document: Settings) -> FormData:
    """What a browser sends of the page of a document that nobody touched."""
    sheet = stored_sheet(Stored(document, 7, ""), PAGES[template])
    kind = PAGES[template][0]
    ids = sheet.sections[kind]["scope"]["group_ids"] if kind != "schedule" else []
    context: dict[str, Any] = {
        "session": None, "is_admin": True, "path": "", "now": None, "done": "", "csrf": "token", "sheet": sheet,
        "rules": sheet.sections, "faults": {}, "locked": "", "properties": NUMBER_PROPERTIES, "is_part": False,
        "is_draft": False, "is_lost": False, "subject": Kind(f"/console/{kind}"), "times": [], "schedule": None,
        "is_typed": False, "days": {"mon": "Monday", "wed": "Wednesday", "sun": "Sunday"}, "zones": [],
        "picker": Picker("", f"/{kind}/scope/group_ids", [Chosen(id_, HOSTILE) for id_ in ids]),
    }  # fmt: skip
    shown = Page(200, "", [("content-type", "text/html")], page(template, context).encode())
    return FormData([*shown.form().values()])


def in_order(value: Any) -> Any:
    """Without the order of lists, which a form does not keep."""
    if isinstance(value, dict):
        return {name: in_order(member) for name, member in value.items()}
    return sorted(value) if isinstance(value, list) else value


@settings(max_examples=25, deadline=None)
@given(DOCUMENTS)
def test_a_form_that_nobody_touched_says_what_is_stored(document: Settings) -> None:
    for template, names in PAGES.items():
        sheet = sent_sheet(form_of(template, document), names)
        stored = msgspec.to_builtins(document)
        assert in_order(sheet.sections) == in_order({name: stored[name] for name in names})
        assert (sheet.revision, sheet.base) == ('"7"', fingerprint(document))


@settings(max_examples=50, deadline=None)
@given(DOCUMENTS, DOCUMENTS)
def test_exactly_the_members_that_differ_are_told_as_changes_of_somebody_else(one: Settings, other: Settings) -> None:
    told = {change.path for change in changed_since(fingerprint(one), other)}
    assert told == {path for path in _paths(one) if _at(one, path) != _at(other, path)}


@given(st.text())
def test_a_fingerprint_that_is_none_counts_everything_as_changed(base: str) -> None:
    told = changed_since(base, Settings())
    assert {change.path for change in told} >= {"/users/enabled", "/schedule/at", "/guard/max_deletions"}


@settings(deadline=None)
@given(st.text(max_size=40))
def test_whatever_is_typed_into_a_number_is_a_number_or_stays_what_was_typed(text: str) -> None:
    sheet = sent_sheet(
        FormData([("/users/number/start", text), ("/guard/max_deletion_percent", text)]), PAGES["users.html"]
    )
    for value in (sheet.sections["users"]["number"]["start"], sheet.sections["guard"]["max_deletion_percent"]):
        assert value == text.strip() or float(text.strip().replace(",", ".")) == value


def test_a_share_may_be_typed_with_a_comma() -> None:
    sheet = sent_sheet(FormData([("/guard/max_deletion_percent", "12,5")]), ["guard"])
    assert sheet.sections["guard"]["max_deletion_percent"] == 12.5


def _paths(document: Settings) -> list[str]:
    return [change.path for change in changed_since("", document)]


def _at(document: Settings, path: str) -> Any:
    value: Any = msgspec.to_builtins(document)
    for name in path.split("/")[1:]:
        value = value[name]
    return value


@settings(max_examples=10, deadline=None)
@given(DOCUMENTS)
def test_all_documents_of_these_tests_are_valid(document: Settings) -> None:
    assert parse_settings(msgspec.json.encode(document)) == document
