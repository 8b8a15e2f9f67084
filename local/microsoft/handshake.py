"""The handshake that proves an endpoint wants notifications ("notificationUrl validation")."""

import re
import uuid
from http import HTTPStatus
from urllib.parse import quote_plus

from local.microsoft.delivery import Postman
from local.microsoft.errors import bad_request
from local.microsoft.transport import Outcome

TIMEOUT = 10.0
TOKEN = "Validation: Testing client application reachability for subscription Request-Id: {}"
FAILED = "Subscription validation request failed. "
MUST_ANSWER = "Notification endpoint must respond with 200 OK to validation request."


async def validate(postman: Postman, url: str) -> None:
    """``GraphError`` 400 unless the endpoint answers 200 with the decoded token as text/plain within 10 s."""
    token = TOKEN.format(uuid.uuid4())
    outcome = await postman.post_once("handshake", handshake_url(url, token), b"", "text/plain; charset=utf-8", TIMEOUT)
    if complaint := _complaint(outcome, token):
        raise bad_request(complaint, "ValidationError")


def handshake_url(url: str, token: str) -> str:
    """The URL as it is, with the token behind its own query, encoded as .NET does: ``%3a`` and ``+``."""
    encoded = re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), quote_plus(token))
    return f"{url}{'&' if '?' in url else '?'}validationToken={encoded}"


def _complaint(outcome: Outcome, token: str) -> str | None:
    if outcome.timed_out:
        return "Subscription validation request timed out."
    if outcome.status is None:
        return FAILED + MUST_ANSWER
    if outcome.status != 200:
        return f"{FAILED}{MUST_ANSWER} HTTP status code is '{_status_name(outcome.status)}'."
    if outcome.content_type.partition(";")[0].strip().lower() != "text/plain":
        return f"{FAILED}The content type of the response must be text/plain."
    if outcome.body != token.encode():
        return f"{FAILED}Response must exactly match validationToken query parameter."
    return None


def _status_name(status: int) -> str:
    """As .NET spells it: ``InternalServerError``."""
    try:
        return HTTPStatus(status).phrase.replace(" ", "")
    except ValueError:
        return str(status)
