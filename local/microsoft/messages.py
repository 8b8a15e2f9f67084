"""A request to Graph and its answer, apart from the web server: ``$batch`` makes them as well as a connection does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from local.microsoft.errors import bad_request
from local.microsoft.tokens import Principal

VERSION_ROOT = "/v1.0"


@dataclass(frozen=True, slots=True)
class GraphRequest:
    """``path`` is as sent, percent-encoded, relative to the version root; ``headers`` ignores letter case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    origin: str
    principal: Principal

    @property
    def root(self) -> str:
        return self.origin + VERSION_ROOT

    def segments(self) -> list[str]:
        return [unquote(segment) for segment in self.path.strip("/").split("/")]

    def options(self) -> dict[str, str]:
        """The query options; ``GraphError`` for a repeated one and for one without ``$``."""
        options: dict[str, str] = {}
        for name, value in parse_qsl(self.query, keep_blank_values=True):
            if not name.startswith("$"):
                raise bad_request(f"The query option '{name}' is not supported.")
            if name in options:
                raise bad_request(f"Query option '{name}' was specified more than once, but it must be at most once.")
            options[name] = value
        return options


@dataclass(frozen=True, slots=True)
class GraphResponse:
    """``body`` is encoded already; empty for 204."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false"


def answer(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> GraphResponse:
    return GraphResponse(status, msgspec.json.encode(data), headers or {})
