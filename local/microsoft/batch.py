"""``$batch``: up to 20 requests in one ("Combine multiple HTTP requests using JSON batching")."""

import base64
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

import msgspec
from multidict import CIMultiDict

from local.emulator import Fault
from local.microsoft.errors import GraphError, bad_request
from local.microsoft.messages import GraphRequest, GraphResponse, answer

LARGEST = 20
METHODS = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE"})


class BatchItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    id: str
    method: str
    url: str
    headers: dict[str, str] = {}
    body: Any = msgspec.UNSET
    depends_on: list[str] = []


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    requests: list[BatchItem]


type Send = Callable[[GraphRequest], Awaitable[GraphResponse]]


async def run(request: GraphRequest, send: Send, faults: list[Fault]) -> GraphResponse:
    """Send each item through ``send``, in order; an item whose dependency failed is answered 424."""
    if request.query:
        raise bad_request("$batch takes no query options.")
    items = _read(request)
    statuses: dict[str, int] = {}
    responses: list[dict[str, Any]] = []
    for item in items:
        response = await _item(request, item, statuses, send, faults)
        statuses[item.id] = response.status
        responses.append(_entry(item, response))
    return answer({"responses": responses})


def _read(request: GraphRequest) -> list[BatchItem]:
    try:
        items = msgspec.json.decode(request.body, type=Batch).requests
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(f"Invalid batch payload format. ({error})", "BadRequest") from None
    if not 1 <= len(items) <= LARGEST:
        raise bad_request(f"Number of batch request steps has to be 1 to {LARGEST}, not {len(items)}.", "BadRequest")
    known: set[str] = set()
    for item in items:
        _check(item, known)
        known.add(item.id)
    return items


def _check(item: BatchItem, earlier: set[str]) -> None:
    if not item.id or item.id in earlier:
        raise bad_request(f"Request id '{item.id}' is empty or used twice in the batch.", "BadRequest")
    if item.method not in METHODS:
        raise bad_request(f"Request '{item.id}' has the unknown method '{item.method}'.", "BadRequest")
    if "://" in item.url.partition("?")[0]:
        raise bad_request(f"The url of request '{item.id}' has to be relative to the version root.", "BadRequest")
    if unknown := set(item.depends_on) - earlier:
        raise bad_request(f"Request '{item.id}' depends on '{sorted(unknown)[0]}', no earlier request.", "BadRequest")
    typed = any(name.lower() == "content-type" for name in item.headers)
    if item.body is not msgspec.UNSET and not typed:
        raise bad_request(f"Request '{item.id}' has a body but no Content-Type header.", "BadRequest")


async def _item(
    request: GraphRequest, item: BatchItem, statuses: dict[str, int], send: Send, faults: list[Fault]
) -> GraphResponse:
    if any(statuses[other] >= 400 for other in item.depends_on):
        return error_response(GraphError(424, "FailedDependency", "A request that this one depends on failed."))
    if fault := _planted(item, faults):
        return GraphResponse(fault.status, _encoded(fault.body), dict(fault.headers))
    path, _, query = item.url.partition("?")
    return await send(
        GraphRequest(
            method=item.method,
            path=path,
            query=query,
            headers=CIMultiDict(item.headers),
            body=b"" if item.body is msgspec.UNSET else msgspec.json.encode(item.body),
            origin=request.origin,
            principal=request.principal,
        )
    )


def _planted(item: BatchItem, faults: list[Fault]) -> Fault | None:
    """A fault of kind ``batch_item``: its ``options`` may name a glob of the item's ``url`` and its ``method``."""
    for fault in faults:
        options = fault.options
        fits = fnmatchcase(unquote(item.url), options.get("url", "*"))
        if fault.kind != "batch_item" or not fits or options.get("method", item.method) != item.method:
            continue
        if fault.times is not None and fault.hits >= fault.times:
            continue
        fault.seen += 1
        if fault.seen > fault.skip:
            fault.hits += 1
            return fault
    return None


def _encoded(body: Any) -> bytes:
    return b"" if body == "" else msgspec.json.encode(body)


def _entry(item: BatchItem, response: GraphResponse) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": item.id, "status": response.status, "headers": dict(response.headers)}
    if not response.body:
        return entry
    entry["headers"]["Content-Type"] = response.content_type.partition(";")[0]
    if response.content_type.startswith("application/json"):
        entry["body"] = msgspec.Raw(response.body)
    else:
        entry["body"] = base64.b64encode(response.body).decode()
    return entry


def error_response(error: GraphError) -> GraphResponse:
    """An item's error; it has no ids of its own."""
    return answer({"error": {"code": error.code, "message": error.message}}, error.status, dict(error.headers))
