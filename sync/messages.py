"""What the triggers hand on: messages of the queue, and answers to those who announce changes."""

from typing import Literal

import msgspec

type Task = Literal["run", "subscriptions", "pbx_events", "presence"]
"""``presence``: the rules for it or the state of the connection changed, which the presence room looks at."""


class Message(msgspec.Struct, frozen=True):
    """A message of the queue ``sync-requests``: what has to be done for a connection."""

    connection: str
    run: str = ""
    """The run to execute, when that is the task."""
    task: Task = "run"

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()


class Outcome(msgspec.Struct, frozen=True):
    """An answer in plain text, and the messages to queue with it."""

    status: int
    text: str = ""
    messages: tuple[Message, ...] = ()

    @property
    def headers(self) -> dict[str, str]:
        """``nosniff``: the handshake repeats what the caller sent, and nothing may take that for a page."""
        return {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
