"""What is right for the extensions of a small company, said as plainly as it can be.

Knows nothing of how presence decides: only what Teams showed, what reached the bridge, what people chose, and what the
PBX was asked and told. Where it cannot know what the bridge knew, it permits both.

The laws: nothing is written that is shown already; a custom presence is never overwritten, nor a choice that counts;
nobody is written who is not followed; and of each user nothing is written that is older than what was written before.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, override

from local.pbx.answers import Payload
from local.pbx.dispatch import Dispatcher
from local.pbx.firmware import WriteOutcome
from local.pbx.intake import Incoming, Read

type Ask = str | None
"""The status that Teams asks for; ``None`` when the extension is to stay as it is."""

ASKS: Mapping[str, Ask] = {
    "PresenceUnknown": None,
    "Offline": None,
    "Available": "available",
    "Away": "away",
    "Busy": "away",
    "OutOfOffice": "off_work",
}
"""By what a person shows in Teams. Nobody here is ever said to want do_not_disturb, except by forgers."""
ALL_ALONG = "available"
"""What a new extension shows."""


class LawBroken(AssertionError):
    """The text names the law."""


def law(holds: bool, words: str) -> None:
    if not holds:
        raise LawBroken(words)


# What happens at the PBX


@dataclass(frozen=True)
class Looked:
    """An extension was looked at."""

    number: str


@dataclass(frozen=True)
class Tried:
    """A write came in, whatever becomes of it; the extension shows ``before`` then."""

    pbx_id: int
    status: str
    before: tuple[str, str]


@dataclass(frozen=True)
class Wrote:
    """A write was carried out, whether anybody hears of it or not."""

    pbx_id: int
    status: str
    before: tuple[str, str]


type Seen = Looked | Tried | Wrote


class Watched(Dispatcher):
    """A PBX that tells, in order, what was done to its extensions."""

    seen: list[Seen]

    @override
    def read(self, incoming: Incoming) -> Read:
        request = super().read(incoming)
        if incoming.path.endswith("/extension/update"):
            self.seen.append(Tried(request.body["id"], request.body["presence_status"], self._shown(request)))
        return request

    @override
    def answer(self, request: Read, outcome: WriteOutcome | None = None) -> Payload:
        if request.incoming.path.endswith("/extension/update"):
            before = self._shown(request)
            payload = super().answer(request, outcome)
            if payload["errcode"] == 0:
                self.seen.append(Wrote(request.body["id"], request.body["presence_status"], before))
            return payload
        payload = super().answer(request, outcome)
        if request.incoming.path.endswith("/extension/search") and payload["errcode"] == 0:
            self.seen.append(Looked(request.query["search_value"]))
        return payload

    def _shown(self, request: Read) -> tuple[str, str]:
        extension = self._machine.directory.get(request.body["id"])
        assert extension is not None, "nobody removes extensions here"
        return extension.presence_status, extension.custom_presence_status


# What people know and want


@dataclass
class Choice:
    """A status that a person chose on the phone, and what Teams may have asked for when the bridge noticed it."""

    status: str
    is_sure: bool
    """It cannot be taken for something that the bridge wrote."""
    asks: set[Ask] = field(default_factory=set)
    is_noticed: bool = False

    def outlives(self, ask: str) -> bool:
        """Whether it surely stays while Teams asks for this: nothing else was asked for since it was noticed."""
        return self.is_sure and self.asks <= {ask}


@dataclass
class Rules:
    """The administrator's: another map, and whether the choices of people count."""

    changes: Mapping[str, Ask] = field(default_factory=dict)
    respects_choices: bool = True


@dataclass
class Person:
    """Somebody with an extension and Teams."""

    object_id: str
    number: str
    pbx_id: int
    own: Mapping[str, Ask] = field(default_factory=dict)
    """The person's own map."""
    is_followed: bool = True
    said: dict[int, str] = field(default_factory=lambda: {0: "PresenceUnknown"})
    """What Teams showed, by Graph's sequence numbers."""
    known: int = 0
    """The bridge surely heard of this one."""
    rumours: set[int] = field(default_factory=set)
    """It may have heard of these, too."""
    shown: tuple[str, str] = (ALL_ALONG, "")
    """Status, and the name of a custom presence."""
    bridges: set[str] = field(default_factory=lambda: {ALL_ALONG})
    """What the bridge may take for its own doing."""
    own_doing: str = ALL_ALONG
    """What it surely takes for it; empty when that is not known."""
    choice: Choice | None = None

    @property
    def newest(self) -> int:
        return max(self.said)

    def ask(self, sequence: int, rules: Rules) -> Ask:
        return {**ASKS, **rules.changes, **self.own}[self.said[sequence]]

    def heard(self) -> list[int]:
        """What may be the newest that the bridge heard of, in order."""
        return sorted({self.known, *(one for one in self.rumours if one > self.known)})

    def choose(self, status: str, custom: str) -> None:
        if (status, custom) == self.shown:
            return
        # What a custom presence leaves behind may have been noticed below it.
        is_sure = status not in self.bridges and not self.shown[1]
        self.shown = status, custom
        self.choice = None if custom else Choice(status, is_sure)

    def looked_at(self, rules: Rules, *, is_clean: bool) -> None:
        """The bridge saw what the extension shows. Unless ``is_clean`` it may not have come to a decision."""
        status, custom = self.shown
        asks: set[Ask] = {self.ask(one, rules) for one in self.heard()}
        if custom:
            return
        if status in asks:
            self._is_as_asked(status, is_certain=is_clean and len(asks) == 1)
        elif self.choice is not None and None in asks:
            self.choice.is_sure = False  # asked for nothing, one may have noticed it or not
        elif self.choice is not None and self.choice.is_noticed:
            # Once something else is asked for it is over, though the write for that may fail.
            self.choice.is_sure = self.choice.is_sure and asks <= self.choice.asks
        elif self.choice is not None:
            self.choice.asks |= asks
            self.choice.is_noticed = is_clean
            if is_clean and status == self.own_doing:
                self.choice = None

    def written(self, event: Wrote, rules: Rules, *, is_clean: bool) -> None:
        status, custom = event.before
        law(not custom, f"{self.number}: the custom presence {custom} is overwritten")
        stays = rules.respects_choices and self.choice is not None and self.choice.outlives(event.status)
        law(not stays, f"{self.number}: {status}, which somebody chose, is overwritten with {event.status}")
        reasons = [one for one in self.heard() if self.ask(one, rules) == event.status]
        law(bool(reasons), f"{self.number}: nothing that is new asks for {event.status}")
        self.known = max(self.known, min(reasons))
        self.shown, self.choice = (event.status, ""), None
        self._is_the_bridges(event.status, is_certain=is_clean)

    def should_show(self, rules: Rules) -> set[str]:
        """What is right when the bridge has heard all and had time for it."""
        status, custom = self.shown
        ask = self.ask(self.newest, rules)
        if custom or ask is None:
            return {status}
        stays = self.choice is not None and (
            not self.choice.is_noticed or (rules.respects_choices and ask in self.choice.asks)
        )
        return {status, ask} if stays else {ask}

    def _is_as_asked(self, status: str, *, is_certain: bool) -> None:
        if is_certain:
            self.choice = None
        elif self.choice is not None:
            self.choice.is_sure = False
        self._is_the_bridges(status, is_certain=is_certain)

    def _is_the_bridges(self, status: str, *, is_certain: bool) -> None:
        self.bridges = {status} if is_certain else {*self.bridges, status}
        self.own_doing = status if is_certain else ""


class Company:
    """Everybody, and the rules."""

    def __init__(self, people: Iterable[Person]) -> None:
        self.people = list(people)
        self.rules = Rules()

    def digest(self, seen: Sequence[Seen], *, is_clean: bool) -> None:
        """Judge what was done at the PBX. Not ``is_clean``: some of it was disturbed."""
        for event in seen:
            match event:
                case Looked(number):
                    self._one(number=number).looked_at(self.rules, is_clean=is_clean)
                case Tried(pbx_id, status, before):
                    person = self._one(pbx_id=pbx_id)
                    law(person.is_followed, f"{person.number} is written, and does not follow Teams")
                    law(before != (status, ""), f"{person.number} is told to show {status}, and does already")
                    if not is_clean:
                        person.bridges.add(status)
                case Wrote(pbx_id):
                    self._one(pbx_id=pbx_id).written(event, self.rules, is_clean=is_clean)

    def judge(self, shown: Mapping[str, str]) -> None:
        """The bridge has heard all and had time for it: ``shown`` by number has to be right."""
        for person in self.people:
            if person.is_followed:
                right = person.should_show(self.rules)
                law(shown[person.number] in right, f"{person.number} shows {shown[person.number]}, not {right}")
            law(shown[person.number] == person.shown[0], f"{person.number} was changed by nobody")

    def _one(self, **members: Any) -> Person:
        [name] = members
        found = [one for one in self.people if getattr(one, name) == members[name]]
        law(len(found) == 1, f"somebody who has no part in it is looked at or written: {members}")
        return found[0]


def names_that_ask(person: Person, rules: Rules) -> list[str]:
    """What the person may show in Teams to ask for another status than now."""
    table = {**ASKS, **rules.changes, **person.own}
    now = table[person.said[person.newest]]
    return [name for name, ask in table.items() if ask is not None and ask != now]
