"""The OpenAPI 3.1 description of the JSON API, made from the types that it speaks."""

from typing import Any

import msgspec

from store.document import Settings
from store.runs import Run, RunItem
from store.validation import Problem

VERSION = "1"


def document() -> dict[str, Any]:
    """The description that ``GET /api/openapi.json`` answers."""
    from sync.api import EndRequest, LifeState, LinkView, PauseRequest, ResumeRequest, SyncRequest
    from sync.service import StoredSecret
    from sync.status import Status

    _, components = msgspec.json.schema_components(
        [
            Settings,
            Run,
            RunItem,
            Problem,
            LinkView,
            SyncRequest,
            Status,
            PauseRequest,
            ResumeRequest,
            EndRequest,
            LifeState,
            StoredSecret,
        ],
        ref_template="#/components/schemas/{name}",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Entra Bridge for Yeastar P-Series",
            "version": VERSION,
            "description": "Keeps the extensions of a PBX in step with Microsoft Entra ID. Errors are problem details "
            "(RFC 9457).",
        },
        "security": [{"functionKey": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"functionKey": {"type": "apiKey", "in": "header", "name": "x-functions-key"}},
            "schemas": {**components, "ProblemDetails": PROBLEM_DETAILS},
        },
    }


PROBLEM_DETAILS: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/Problem"}},
    },
}


def _paths() -> dict[str, Any]:
    run_id = _parameter("id", "path", "The run's id.")
    top = _parameter("top", "query", "At most so many entries, 1 to 1000.", "integer")
    after = _parameter("after", "query", "Begin behind this entry; the `next` of a page has it.")
    return {
        "/api/status": {"get": _operation("getStatus", "State, runs, counts, capacity", {"200": _of("Status")})},
        "/api/settings": {
            "get": _operation("getSettings", "The settings document, with its ETag", {"200": _of("Settings")}),
            "put": _operation(
                "putSettings",
                "Replace the settings; members left out take their defaults",
                {
                    "200": _of("Settings"),
                    "409": _failure("Read-only while paused or disabled."),
                    "412": _failure("Somebody saved meanwhile."),
                    "422": _failure("Refused."),
                },
                body="Settings",
                parameters=[_parameter("If-Match", "header", "The ETag that was read; without it the last one wins.")],
            ),
        },
        "/api/sync": {
            "post": _operation(
                "postSync",
                "Request a run or a preview",
                {
                    "202": _of("Run"),
                    "409": _failure("Not connected, or users are off."),
                    "422": _failure("Refused."),
                },
                body="SyncRequest",
            )
        },
        "/api/pause": {
            "post": _lifecycle(
                "postPause", "Stop the synchronization of users or groups; settings stay", "PauseRequest"
            )
        },
        "/api/resume": {
            "post": _lifecycle("postResume", "Sync again what was paused, with a full run at once", "ResumeRequest")
        },
        "/api/disable": {"post": _lifecycle("postDisable", "Suspend the whole integration", "EndRequest")},
        "/api/enable": {"post": _lifecycle("postEnable", "End the suspension, with a full run at once")},
        "/api/disconnect": {
            "post": _lifecycle("postDisconnect", "End the connection and forget it; runs stay", "EndRequest")
        },
        "/api/runs": {
            "get": _operation("getRuns", "Runs, newest first", {"200": _list_of("Run")}, parameters=[top, after])
        },
        "/api/runs/{id}": {"get": _operation("getRun", "One run", {"200": _of("Run")}, parameters=[run_id])},
        "/api/runs/{id}/items": {
            "get": _operation(
                "getRunItems",
                "What a run did, to whom, and why",
                {"200": _list_of("RunItem")},
                parameters=[run_id, _parameter("outcome", "query", "Only this outcome."), top, after],
            )
        },
        "/api/runs/{id}/approve": {
            "post": _operation("approveRun", "Carry out the held deletions", {"202": _of("Run")}, parameters=[run_id])
        },
        "/api/runs/{id}/reject": {
            "post": _operation("rejectRun", "Leave the held deletions undone", {"200": _of("Run")}, parameters=[run_id])
        },
        "/api/links": {
            "get": _operation(
                "getLinks",
                "Which Entra object is which PBX object",
                {"200": _list_of("LinkView")},
                parameters=[
                    _parameter("kind", "query", "users, groups or contacts."),
                    _parameter("search", "query", "Part of a name, an address or a number."),
                    top,
                    after,
                ],
            )
        },
        "/api/secrets/{name}": {
            "put": _operation(
                "putSecret",
                "Store a secret in the Key Vault; it is never shown again",
                {
                    "200": _of("StoredSecret"),
                    "422": _failure("Unusable, or Entra rejects it; the old one stays."),
                    "503": _failure("Entra cannot be asked; the old one stays."),
                },
                parameters=[
                    _parameter("name", "path", "entra-client-secret, entra-client-certificate or pbx-client-secret.")
                ],
                inline={
                    "type": "object",
                    "required": ["value"],
                    "properties": {"value": {"type": "string"}},
                    "additionalProperties": False,
                },
            )
        },
        "/api/openapi.json": {
            "get": _operation("getOpenApi", "This description", {"200": {"description": "OpenAPI 3.1."}})
        },
    }


def _lifecycle(name: str, summary: str, body: str = "") -> dict[str, Any]:
    """An operation that changes the state of the connection: 202 when something is deleted, or would be."""
    answers = {"200": _of("LifeState"), "409": _failure("Not in this state.")}
    return _operation(name, summary, answers if name in STARTERS else {**answers, "202": _of("Run")}, body=body)


STARTERS = {"postResume", "postEnable"}
"""They delete nothing. The run that they start is named in ``Location``."""


def _failure(description: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {"description": description, "content": content}


def _operation(
    name: str,
    summary: str,
    responses: dict[str, Any],
    *,
    body: str = "",
    inline: dict[str, Any] | None = None,
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {**responses, "default": _failure("Problem details.")},
    }
    if parameters:
        operation["parameters"] = parameters
    schema = inline or ({"$ref": f"#/components/schemas/{body}"} if body else None)
    if schema:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _of(name: str) -> dict[str, Any]:
    return {
        "description": f"{name}.",
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}},
    }


def _list_of(name: str) -> dict[str, Any]:
    listing = {
        "type": "object",
        "required": ["value", "next"],
        "properties": {
            "value": {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}},
            "next": {"type": ["string", "null"]},
        },
    }
    return {"description": f"A page of {name}.", "content": {"application/json": {"schema": listing}}}


def _parameter(name: str, place: str, description: str, kind: str = "string") -> dict[str, Any]:
    parameter = {"name": name, "in": place, "description": description, "schema": {"type": kind}}
    return {**parameter, "required": True} if place == "path" else parameter
