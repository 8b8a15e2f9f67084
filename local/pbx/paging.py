"""Paging and order of lists, and how endpoints are told which objects: ``page`` counts from 1, ``total_number`` is over
all pages.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from local.pbx.answers import Errcode, Payload, Refused
from local.pbx.directory import Extension
from local.pbx.firmware import Firmware
from local.pbx.validation import Choice, Parameters, Rule, Text, Whole, unwelcome

PAGE: Mapping[str, Rule] = {"page": Whole(minimum=1), "page_size": Whole(minimum=1, maximum=10_000)}
ORDER: Mapping[str, Rule] = {"sort_by": Choice(("id", "number")), "order_by": Choice(("asc", "desc"))}
"""The guide does not record the columns of ``sort_by`` for extensions: these two, and 40002 for another."""

PAGED = Parameters(PAGE)
SORTED = Parameters({**PAGE, **ORDER})
ONE_ID = Parameters({"id": Whole(minimum=1)}, frozenset({"id"}))
IDS = Parameters({"ids": Text(pattern=re.compile(r"[0-9]+(,[0-9]+)*", re.ASCII))}, frozenset({"ids"}))


def asked_ids(firmware: Firmware, query: Mapping[str, Any]) -> list[int]:
    """The ids of a query for several objects; 40002 for more than the firmware takes."""
    ids = [int(number) for number in query["ids"].split(",")]
    limit = firmware.max_query_ids
    if limit is not None and len(ids) > limit:
        raise Refused(Errcode.VALUE, [unwelcome("ids", query["ids"], f"holds more than {limit} ids")])
    return ids


def ordered(extensions: Iterable[Extension], query: Mapping[str, Any]) -> list[Extension]:
    """By id, or by number as a number."""
    rows = list(extensions)
    if query.get("sort_by") == "number":
        rows.sort(key=lambda extension: (int(extension.number), extension.number))
    if query.get("order_by") == "desc":
        rows.reverse()
    return rows


def page[T](rows: list[T], query: Mapping[str, Any], firmware: Firmware, shown: Callable[[T], Payload]) -> Payload:
    """The page that ``query`` asks for, each row as ``shown`` gives it."""
    size = query.get("page_size", firmware.default_page_size)
    if size > firmware.max_page_size:
        if firmware.page_size_overflow == "refuse":
            raise Refused(Errcode.VALUE, [unwelcome("page_size", size, f"is above {firmware.max_page_size}")])
        size = firmware.max_page_size
    start = (query.get("page", 1) - 1) * size
    return {"total_number": len(rows), "data": [shown(row) for row in rows[start : start + size]]}
