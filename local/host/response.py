"""The host's HTTP answer, independent of any server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer; ``cookies`` are values of repeated ``Set-Cookie`` headers."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cookies: tuple[str, ...] = ()


def json_response(status: int, document: Any) -> Response:
    """An answer with a JSON body."""
    return Response(status, {"content-type": "application/json"}, msgspec.json.encode(document))
