"""The errors that Microsoft Graph answers with.

GraphError                    status, code, message, extra headers
  made by: bad_request, unsupported_query, not_found, denied, unauthenticated, method_not_allowed, unknown_segment
"""

from collections.abc import Mapping


class GraphError(Exception):
    """An answer with Graph's error envelope ("Microsoft Graph error responses and resource types")."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def bad_request(message: str, code: str = "Request_BadRequest") -> GraphError:
    return GraphError(400, code, message)


def unsupported_query(message: str) -> GraphError:
    return GraphError(400, "Request_UnsupportedQuery", message)


def unknown_property(name: str, entity: str) -> GraphError:
    kind = f"microsoft.graph.{entity}"
    return bad_request(
        f"Parsing OData Select and Expand failed: Could not find a property named '{name}' on type '{kind}'."
    )


def needs_advanced_query(what: str) -> GraphError:
    return unsupported_query(
        f"{what} is not supported without the header ConsistencyLevel: eventual and $count=true. "
        "See advanced query capabilities on directory objects."
    )


def not_found(identifier: str) -> GraphError:
    return GraphError(
        404,
        "Request_ResourceNotFound",
        f"Resource '{identifier}' does not exist or one of its queried reference-property objects are not present.",
    )


def denied() -> GraphError:
    return GraphError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")


def unauthenticated(message: str, authority: str) -> GraphError:
    challenge = (
        f'Bearer realm="", authorization_uri="{authority}/common/oauth2/authorize", '
        'client_id="00000003-0000-0000-c000-000000000000"'
    )
    return GraphError(401, "InvalidAuthenticationToken", message, {"WWW-Authenticate": challenge})


def method_not_allowed(allowed: list[str]) -> GraphError:
    return GraphError(
        405,
        "Request_BadRequest",
        "Specified HTTP method is not allowed for the request target.",
        {"Allow": ", ".join(sorted(allowed))},
    )


def unknown_segment(segment: str) -> GraphError:
    return bad_request(f"Resource not found for the segment '{segment}'.", "BadRequest")
