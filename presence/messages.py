"""What the triggers hand on: messages of the queue, and answers to Graph."""

import msgspec


class Update(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message of the queue ``presence-updates``: write what is pending for a connection."""

    connection: str
    look: tuple[str, ...] = ()
    """Object ids of users to ask Graph about first: at most 650, which is half of what a message holds."""
    subscriptions: bool = False
    """Something about the subscriptions is to be put right first."""

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()


class Answer(msgspec.Struct, frozen=True):
    """An answer in plain text, and the messages to queue with it."""

    status: int
    text: str = ""
    updates: tuple[Update, ...] = ()

    @property
    def headers(self) -> dict[str, str]:
        """``nosniff``: the handshake repeats what the caller sent, and nothing may take that for a page."""
        return {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
