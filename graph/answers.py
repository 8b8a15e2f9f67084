"""Turns Graph's answers into data or into the errors of ``graph.errors``."""

import datetime
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import msgspec

from graph.errors import (
    BadRequest,
    ConsentMissing,
    CredentialsRejected,
    GraphError,
    NotFound,
    ResyncRequired,
    Throttled,
    Unavailable,
)
from graph.models import ErrorAnswer, ErrorDetail

RESYNC_CODES = {"syncstatenotfound", "resyncrequired", "directory_expiredpagetoken", "syncstateinvalid"}
NOT_FOUND_CODES = {"request_resourcenotfound", "resourcenotfound", "erroritemnotfound"}


def decoded[T](raw: bytes, kind: type[T]) -> T:
    """The body of a success."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Graph answers in an unknown shape: {error}") from error
    except msgspec.DecodeError:
        raise Unavailable("Graph's answer was cut off") from None


def detail_of(body: bytes) -> ErrorDetail:
    """What Graph says about a failure; nothing where the body is not Graph's."""
    try:
        return msgspec.json.decode(body, type=ErrorAnswer).error
    except msgspec.DecodeError:  # the page of a gateway, or nothing
        return ErrorDetail()


def typed(status: int, headers: Mapping[str, str], body: bytes) -> GraphError:
    """The typed error of an HTTP failure."""
    detail = detail_of(body)
    code = detail.code
    words = f"{code or 'HTTP'} {status}"
    if status == 410 or (status in {400, 404} and code.lower() in RESYNC_CODES):
        return ResyncRequired(f"Graph asks for a full read ({words})")
    if status == 429:
        return Throttled(f"Graph throttles us ({words})", retry_after(headers))
    if status >= 500 or status == 408:
        return Unavailable(f"Graph fails ({words})", retry_after(headers))
    if status == 401:
        return CredentialsRejected(f"Graph does not accept our token ({words})")
    if status == 403:
        return ConsentMissing(f"the application lacks a permission for this ({words})")
    if status == 404 and code.lower() not in NOT_FOUND_CODES:
        # Some gateway's, not Graph's: taken for "the user is gone" it would cost an extension.
        return Unavailable(f"something before Graph answers that there is no such page ({words})")
    if status == 404:
        return NotFound(f"there is no such object in the directory ({words})")
    return BadRequest(f"Graph refuses the request ({words}): {detail.message}"[:500])


def typed_naming(status: int, headers: Mapping[str, str], body: bytes) -> GraphError:
    """As ``typed``, for a request that names objects in its body: each service has its own words for one that does not
    exist, so a 404 in any of them is ``NotFound``. One without Graph's words is some gateway's still."""
    code = detail_of(body).code
    if status == 404 and code:
        return NotFound(f"something that the request names does not exist ({code} {status})")
    return typed(status, headers, body)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The ``Retry-After`` header in seconds: a number or a date (RFC 9110); ``None`` without one that makes sense."""
    wish = str(headers.get("Retry-After", "")).strip()
    if wish.isascii() and wish.isdecimal():
        return float(wish)
    try:
        moment = parsedate_to_datetime(wish)
        return max(0.0, (moment - datetime.datetime.now(moment.tzinfo)).total_seconds())
    except (ValueError, OverflowError):
        return None
