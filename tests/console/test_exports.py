"""The files that a run can be taken away in."""

import csv
import io
from collections.abc import AsyncIterator, Iterable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from console.exports import COLUMNS, FORMULA, csv_file, harmless, json_file
from store.runs import Run, RunItem

RUN = Run(id="1-a", what=["users"], mode="full", started_by="api", requested_at="2026-03-02T09:00:00.000+00:00")
ANN = RunItem(
    number=7,
    operation="update",
    outcome="failed",
    object_id="o-1",
    name='Ann "the boss", Müller',
    user_principal_name="ann@contoso.example",
    extension="1000",
    pbx_id=42,
    reason="Changed in Entra.\nTwice.",
    before={"title": "Clerk", "mobile_number": ""},
    after={"title": "Boss", "mobile_number": "+31 6 1"},
    notes=["The title was cut.", "So was the name."],
    errcode=20001,
    at="2026-03-02T09:00:01.000+00:00",
)


async def _each(items: Iterable[RunItem]) -> AsyncIterator[RunItem]:
    for item in items:
        yield item


async def lines_of(*items: RunItem) -> list[dict[str, str]]:
    data = await csv_file(_each(items))
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


async def test_a_spreadsheet_gets_every_member_of_an_item_in_a_column_of_its_own() -> None:
    [line] = await lines_of(ANN)
    assert line == {
        "number": "7",
        "at": "2026-03-02T09:00:01.000+00:00",
        "kind": "users",
        "operation": "update",
        "outcome": "failed",
        "name": 'Ann "the boss", Müller',
        "user_principal_name": "ann@contoso.example",
        "extension": "1000",
        "object_id": "o-1",
        "pbx_id": "42",
        "reason": "Changed in Entra.\nTwice.",
        "before": "title: Clerk; mobile_number: ",
        "after": "title: Boss; mobile_number: +31 6 1",
        "notes": "The title was cut. So was the name.",
        "errcode": "20001",
    }


async def test_what_is_not_known_is_an_empty_cell() -> None:
    [line] = await lines_of(RunItem(operation="create", outcome="planned", object_id="o-1"))
    assert (line["pbx_id"], line["errcode"], line["before"]) == ("", "", "")


async def test_a_file_without_items_still_names_its_columns() -> None:
    data = await csv_file(_each([]))
    assert data.startswith(b"\xef\xbb\xbf"), "Excel would guess another encoding"
    assert data.decode("utf-8-sig").strip() == ",".join(COLUMNS)


async def test_a_name_that_is_a_formula_is_only_a_text_to_a_spreadsheet() -> None:
    hostile = ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", "\r=1"]
    lines = await lines_of(
        *(RunItem(operation="skip", outcome="skipped", object_id="o", name=name) for name in hostile)
    )
    assert [line["name"] for line in lines] == [f"'{name}" for name in hostile]


@given(st.text())
def test_no_cell_begins_as_a_formula_and_nothing_of_it_is_lost(text: str) -> None:
    cell = harmless(text)
    assert not cell.startswith(FORMULA)
    assert cell.endswith(text)
    assert cell == text or text.startswith(FORMULA)


async def test_a_program_gets_the_run_and_its_items_as_the_api_has_them() -> None:
    data = await json_file(RUN, _each([ANN, msgspec.structs.replace(ANN, number=8)]))
    document = msgspec.json.decode(data)
    assert msgspec.convert(document["run"], Run) == RUN
    assert [item["number"] for item in document["items"]] == [7, 8]
    assert msgspec.convert(document["items"][0], RunItem) == ANN


async def test_a_run_without_items_is_a_document_as_well() -> None:
    assert msgspec.json.decode(await json_file(RUN, _each([])))["items"] == []
