"""The errors of the authority: AADSTS codes with the OAuth error and the HTTP status they come with.

After "Microsoft Entra authentication and authorization error codes".
"""

import datetime
import uuid
from typing import Any

KINDS: dict[int, tuple[str, int]] = {
    28000: ("invalid_scope", 400),
    50011: ("invalid_request", 400),
    50027: ("invalid_request", 400),
    50034: ("invalid_grant", 400),
    50057: ("invalid_grant", 400),
    50058: ("login_required", 400),
    50059: ("invalid_request", 400),
    50089: ("invalid_grant", 400),
    50105: ("invalid_grant", 400),
    50147: ("invalid_grant", 400),
    50148: ("invalid_grant", 400),
    50149: ("invalid_request", 400),
    501481: ("invalid_grant", 400),
    501491: ("invalid_request", 400),
    50173: ("invalid_grant", 400),
    50194: ("invalid_request", 400),
    500011: ("invalid_resource", 400),
    500112: ("invalid_grant", 400),
    54005: ("invalid_grant", 400),
    65001: ("invalid_grant", 400),
    65004: ("access_denied", 400),
    650053: ("invalid_client", 400),
    70000: ("invalid_grant", 400),
    70003: ("unsupported_grant_type", 400),
    70007: ("invalid_request", 400),
    70008: ("invalid_grant", 400),
    70011: ("invalid_scope", 400),
    70021: ("invalid_request", 400),
    700016: ("unauthorized_client", 400),
    700021: ("invalid_client", 401),
    700023: ("invalid_client", 401),
    700024: ("invalid_client", 401),
    700027: ("invalid_client", 401),
    700054: ("unsupported_response_type", 400),
    700082: ("invalid_grant", 400),
    700213: ("invalid_client", 401),
    90002: ("invalid_request", 400),
    90023: ("invalid_request", 400),
    900144: ("invalid_request", 400),
    1002012: ("invalid_scope", 400),
    7000215: ("invalid_client", 401),
    7000218: ("invalid_client", 401),
    7000222: ("invalid_client", 401),
    9002313: ("invalid_request", 400),
}
ON_REDIRECT = {
    50057: "interaction_required",
    50105: "interaction_required",
    50147: "invalid_request",
    65001: "consent_required",
}
"""Errors that have another name when the browser carries them back to the app."""
SUBERRORS = {65001: "consent_required"}


class EntraError(Exception):
    """A refusal of the authority; ``code`` is the number after AADSTS."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.error, self.status = KINDS[code]

    def body(self, authority: str, now: datetime.datetime, correlation_id: str) -> dict[str, Any]:
        timestamp, trace_id = _timestamp(now), str(uuid.uuid4())
        body = {
            "error": self.error,
            "error_description": self._text(timestamp, trace_id, correlation_id),
            "error_codes": [self.code],
            "timestamp": timestamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": f"{authority}/error?code={self.code}",
        }
        return body | ({"suberror": SUBERRORS[self.code]} if self.code in SUBERRORS else {})

    def parameters(self, authority: str, now: datetime.datetime, correlation_id: str) -> dict[str, str]:
        """What a redirect carries back to the app."""
        return {
            "error": ON_REDIRECT.get(self.code, self.error),
            "error_description": self._text(_timestamp(now), str(uuid.uuid4()), correlation_id),
            "error_uri": f"{authority}/error?code={self.code}",
        }

    def _text(self, timestamp: str, trace_id: str, correlation_id: str) -> str:
        return (
            f"AADSTS{self.code}: {self.message} Trace ID: {trace_id} Correlation ID: {correlation_id} "
            f"Timestamp: {timestamp}"
        )


def _timestamp(now: datetime.datetime) -> str:
    return now.strftime("%Y-%m-%d %H:%M:%SZ")
