"""Slow endpoints and what Graph does about them, per endpoint and not per subscription.

After "Receive change notifications through webhooks", the part about slow and dropped endpoints: more than 10 per cent
of answers slower than 3 s within 10 minutes make an endpoint slow, and its new notifications wait 10 minutes; more
than 15 per cent slower than 10 s make Graph drop its notifications for 10 minutes.
"""

import msgspec

from local.microsoft.transport import Outcome

WINDOW = 600.0
PENALTY = 600.0
"""How long new notifications for a slow endpoint wait, and how long those for a dropped one are lost."""
SLOW_SECONDS, SLOW_SHARE = 3.0, 0.10
DROP_SECONDS, DROP_SHARE = 10.0, 0.15


class Answer(msgspec.Struct, frozen=True):
    """An endpoint that was given up counts as one that answered later than it was waited for."""

    at: float
    slow: bool
    very_slow: bool


class Endpoint(msgspec.Struct):
    answers: list[Answer] = []
    dropped_until: float = 0.0

    def recent(self, now: float) -> list[Answer]:
        self.answers = [answer for answer in self.answers if answer.at > now - WINDOW]
        return self.answers


class EndpointState(msgspec.Struct, frozen=True):
    """What the control API shows of an endpoint."""

    url: str
    answers: int
    slow: bool
    dropped: bool


class Endpoints:
    """The answers of the last ten minutes by endpoint, which is a URL without its query."""

    def __init__(self) -> None:
        self._known: dict[str, Endpoint] = {}

    def note(self, url: str, outcome: Outcome, waited: float, now: float) -> None:
        """Count an answer that was waited for ``waited`` seconds; an unreachable endpoint gave none."""
        if outcome.status is None and not outcome.timed_out:
            return
        if outcome.timed_out:
            answer = Answer(now, slow=True, very_slow=waited >= DROP_SECONDS)
        else:
            answer = Answer(now, outcome.seconds > SLOW_SECONDS, outcome.seconds > DROP_SECONDS)
        endpoint = self._known.setdefault(_key(url), Endpoint())
        endpoint.answers.append(answer)
        recent = endpoint.recent(now)
        if sum(answer.very_slow for answer in recent) > DROP_SHARE * len(recent):
            endpoint.dropped_until = now + PENALTY

    def is_slow(self, url: str, now: float) -> bool:
        endpoint = self._known.get(_key(url), Endpoint())
        recent = endpoint.recent(now)
        return sum(answer.slow for answer in recent) > SLOW_SHARE * len(recent)

    def is_dropped(self, url: str, now: float) -> bool:
        return now < self._known.get(_key(url), Endpoint()).dropped_until

    def states(self, now: float) -> list[EndpointState]:
        return [
            EndpointState(url, len(endpoint.recent(now)), self.is_slow(url, now), self.is_dropped(url, now))
            for url, endpoint in self._known.items()
        ]

    def clear(self) -> None:
        self._known.clear()


def _key(url: str) -> str:
    return url.partition("?")[0]
