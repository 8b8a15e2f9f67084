"""The errors of the token endpoint: AADSTS codes with the OAuth error and the HTTP status they come with.

After "Microsoft Entra authentication and authorization error codes".
"""

import datetime
import uuid
from typing import Any

KINDS: dict[int, tuple[str, int]] = {
    50027: ("invalid_request", 400),
    50034: ("invalid_grant", 400),
    50059: ("invalid_request", 400),
    500011: ("invalid_resource", 400),
    65001: ("invalid_grant", 400),
    70003: ("unsupported_grant_type", 400),
    70011: ("invalid_scope", 400),
    70021: ("invalid_request", 400),
    90002: ("invalid_request", 400),
    700016: ("unauthorized_client", 400),
    700021: ("invalid_client", 401),
    700023: ("invalid_client", 401),
    700024: ("invalid_client", 401),
    700027: ("invalid_client", 401),
    700213: ("invalid_client", 401),
    900144: ("invalid_request", 400),
    1002012: ("invalid_scope", 400),
    7000215: ("invalid_client", 401),
    7000218: ("invalid_client", 401),
    7000222: ("invalid_client", 401),
    9002313: ("invalid_request", 400),
}


class EntraError(Exception):
    """A refusal of the authority; ``code`` is the number after AADSTS."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.error, self.status = KINDS[code]

    def body(self, authority: str, now: datetime.datetime, correlation_id: str) -> dict[str, Any]:
        timestamp = now.strftime("%Y-%m-%d %H:%M:%SZ")
        trace_id = str(uuid.uuid4())
        text = (
            f"AADSTS{self.code}: {self.message} Trace ID: {trace_id} Correlation ID: {correlation_id} "
            f"Timestamp: {timestamp}"
        )
        return {
            "error": self.error,
            "error_description": text,
            "error_codes": [self.code],
            "timestamp": timestamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": f"{authority}/error?code={self.code}",
        }
