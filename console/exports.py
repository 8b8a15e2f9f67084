"""The items of a run as files: CSV for spreadsheets, JSON for programs."""

import csv
import io
from collections.abc import AsyncIterator, Mapping

import msgspec

from store.runs import Run, RunItem

COLUMNS = ("number", "at", "kind", "operation", "outcome", "name", "user_principal_name", "extension", "object_id",
           "pbx_id", "reason", "before", "after", "notes", "errcode")  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A spreadsheet takes a cell that begins so for a formula (https://owasp.org/www-community/attacks/CSV_Injection)."""
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""Without it Excel reads the file in the code page of its country."""


async def csv_file(items: AsyncIterator[RunItem]) -> bytes:
    """A line for each item, below the names of the columns. Only the lines are kept while the items are read."""
    text = io.StringIO(newline="")
    text.write(BOM)
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    async for item in items:
        writer.writerow([harmless(cell) for cell in _cells(item)])
    return text.getvalue().encode()


async def json_file(run: Run, items: AsyncIterator[RunItem]) -> bytes:
    """``{"run": ..., "items": [...]}`` with the members that the API has."""
    encoder, data = msgspec.json.Encoder(), bytearray(b'{"run":')
    data += encoder.encode(run) + b',"items":['
    begin = b""
    async for item in items:
        data += begin + encoder.encode(item)
        begin = b",\n"
    return bytes(data + b"]}\n")


def harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: names and addresses come from whoever may write them in Entra."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _cells(item: RunItem) -> list[str]:
    return [
        str(item.number),
        item.at,
        item.kind,
        item.operation,
        item.outcome,
        item.name,
        item.user_principal_name,
        item.extension,
        item.object_id,
        "" if item.pbx_id is None else str(item.pbx_id),
        item.reason,
        _fields(item.before),
        _fields(item.after),
        " ".join(item.notes),
        "" if item.errcode is None else str(item.errcode),
    ]


def _fields(fields: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in fields.items())
