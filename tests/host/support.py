"""What the host's tests share besides fixtures."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from local.host.clock import Clock
from local.host.core import Host
from local.host.keys import Keys
from local.host.response import Response

APP = Path(__file__).parent / "fixture_app"
KEYS = Keys(master="the-master", function="the-function", functions={"guarded": "only-guarded"})
MASTER = {"x-functions-key": "the-master"}

type Records = Callable[[str], list[dict[str, Any]]]


class HostFactory(Protocol):
    """Starts the fixture app."""

    def __call__(self, clock: Clock | None = None, keys: Keys = KEYS, **options: Any) -> Awaitable[Host]:
        """A started host."""
        ...


async def send(
    host: Host,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Response:
    """One request without sockets."""
    plain, _, query = path.partition("?")
    return await host.dispatch(method, plain, query, headers or {}, body, f"http://host{path}")


def document(response: Response) -> Any:
    """The answer's JSON."""
    return json.loads(response.body)


async def until[Value](look: Callable[[], Value], seconds: float = 8.0) -> Value:
    """The first true value of ``look``. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not (value := look()):  # noqa: ASYNC110 - it happens in other processes, there is no event
            await asyncio.sleep(0.01)
        return value
