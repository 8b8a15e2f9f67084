"""The ``/admin`` endpoints: functions to list and fire, state of the host, its clock. All but ping need the master key.

``/admin/host/clock`` is ours, for tests: ``GET``, or ``POST {"advance_seconds": n}`` or ``{"now": "..."}``. The POST
answers when the timers that became due have ended (with ``"wait": false`` at once). It moves the timers' clock, and the
time of day in the app's process; monotonic clocks, storage and other services keep theirs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from local.host.functions import Entry, HttpTrigger, TimerTrigger
from local.host.keys import Level
from local.host.response import Response, json_response
from local.host.travel import CannotTravelError

if TYPE_CHECKING:
    from local.host.core import Host

_PATIENCE = 60.0  # seconds a POST to the clock waits for the timers it made due


class _ClockMove(msgspec.Struct, forbid_unknown_fields=True):
    advance_seconds: float | None = None
    now: datetime | None = None
    wait: bool = True


class _Fire(msgspec.Struct):
    input: str = ""


class Admin:
    """Answers the admin requests of one host."""

    def __init__(self, host: "Host") -> None:
        self._host = host

    async def answer(
        self, method: str, path: str, headers: Mapping[str, str], query: Mapping[str, str], body: bytes
    ) -> Response:
        """Answer one request whose path begins with ``/admin/``."""
        parts = path.strip("/").lower().split("/")[1:]
        if parts == ["host", "ping"]:
            return Response(200) if method in {"GET", "HEAD", "POST"} else Response(404)
        if not self._host.allows(Level.ADMIN, "", headers, query):
            return Response(401)
        action = self._find(method, parts)
        if action is None:
            return Response(404)
        try:
            return await action(body)
        except (msgspec.DecodeError, ValueError) as error:
            return json_response(400, {"error": str(error)})
        except CannotTravelError as error:
            return json_response(501, {"error": str(error)})

    def _find(self, method: str, parts: list[str]) -> Callable[[bytes], Awaitable[Response]] | None:
        host_actions = {
            ("GET", "status"): self._status,
            ("GET", "clock"): self._clock,
            ("POST", "clock"): self._move_clock,
        }
        match parts:
            case ["host", name]:
                return host_actions.get((method, name))
            case ["functions"] if method == "GET":
                return self._list
            case ["functions", name] if name in self._host.entries and method in {"GET", "POST"}:
                entry = self._host.entries[name]
                return (lambda _: self._show(entry)) if method == "GET" else (lambda body: self._fire(entry, body))
            case _:
                return None

    async def _status(self, _: bytes) -> Response:
        host = self._host
        up = (datetime.now(UTC) - host.started).total_seconds()
        document = {
            "id": host.config.host_id,
            "state": "Running",
            "version": "local",
            "processUptime": round(up * 1000),
        }
        return json_response(200, document)

    async def _clock(self, _: bytes) -> Response:
        return json_response(200, self._clock_state())

    async def _move_clock(self, body: bytes) -> Response:
        move = msgspec.json.decode(body, type=_ClockMove)
        if (move.advance_seconds is None) == (move.now is None):
            raise ValueError("give either advance_seconds or now")
        if move.now is not None:
            self._host.advance(self._host.clock.until(move.now))
        else:
            self._host.advance(timedelta(seconds=move.advance_seconds or 0))
        fired = self._host.timers.fire_due()
        if fired and move.wait:
            await asyncio.wait(fired.values(), timeout=_PATIENCE)
        return json_response(200, {**self._clock_state(), "fired": sorted(fired)})

    def _clock_state(self) -> dict[str, Any]:
        clock = self._host.clock
        return {
            "now": clock.now(),
            "offset_seconds": clock.offset.total_seconds(),
            "next": self._host.timers.next_times(),
        }

    async def _list(self, _: bytes) -> Response:
        return json_response(200, [self._describe(entry) for entry in self._host.entries.values()])

    async def _show(self, entry: Entry) -> Response:
        return json_response(200, self._describe(entry))

    async def _fire(self, entry: Entry, body: bytes) -> Response:
        text = msgspec.json.decode(body, type=_Fire).input if body.strip() else ""
        self._host.fire(entry, text)
        return Response(202)

    def _describe(self, entry: Entry) -> dict[str, Any]:
        document: dict[str, Any] = {"name": entry.name, "is_disabled": entry.is_disabled, "language": "python"}
        return document | describe_trigger(self._host, entry)


def describe_trigger(host: "Host", entry: Entry) -> dict[str, Any]:
    """The trigger's kind and where it listens, in plain words."""
    trigger = entry.trigger
    if isinstance(trigger, HttpTrigger):
        document: dict[str, Any] = {
            "trigger": "http",
            "route": f"/{host.template(trigger)}",
            "auth_level": trigger.level,
        }
        return document | {"methods": sorted(trigger.methods)}
    if isinstance(trigger, TimerTrigger):
        return {"trigger": "timer", "schedule": trigger.text}
    return {"trigger": "queue", "queue": trigger.queue}
