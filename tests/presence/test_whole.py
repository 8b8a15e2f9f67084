"""Whatever happens on the way from Teams to the PBX, extensions end up as they should, and nothing forbidden is done.

Each example is a small company and what happens to it, with two processes of the bridge in the middle; ``model`` says
what is right. Nothing of the bridge is under way when people choose something: a PBX has no conditional writes.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tenacity import wait_none

from local.azurite import Azurite
from local.emulator import Fault
from local.microsoft.presence_forgeries import TOKEN_FLAWS, Flaw, TokenShape, forged_item
from local.tls import ServerCertificate
from pbx.errors import PbxError
from pbx.tokens import SharedToken
from presence.intake import LARGEST_BODY, receive
from presence.messages import Update
from presence.poll import carry_out, poll
from presence.preferences import set_preferences
from presence.refusals import counted
from presence.room import Room, memory_of
from store.document import PresenceChoice
from store.errors import StoreError
from store.presence import PresenceSubscription
from tests.engine.world import World, empty_world
from tests.presence.desk import CERTIFICATE, Desk
from tests.presence.model import Ask, Company, Person, Watched, names_that_ask

API = "/openapi/v1.0"
PROCESSES = 2
NAMES = ("Available", "Away", "Busy", "OutOfOffice", "Available", "Away", "Busy", "OutOfOffice", "Offline")
CHOICES = ("available", "away", "lunch", "business_trip")
CUSTOM = ("", "", "", "On site")
MAPS: tuple[dict[str, Ask], ...] = (
    {},
    {"Busy": "lunch"},
    {"Away": None, "Busy": "business_trip"},
    {"Offline": "off_work"},
)
FLAWS: tuple[Flaw, ...] = get_args(Flaw.__value__)
STRANGER = "bbbb0001-0000-4000-8000-000000000001"
WORTH_HIDING = re.compile(rb'[:,\[]"([^"]{8,})"(?!:)')
"""The values of a body, whether it can be decoded or not."""
LONG_AFTER = "9" * 20
"""A sequence number that would shut out everything genuine."""
ROUNDS = 20

type Oddity = Literal[
    "wrong_signature", "about_another", "unknown_subscription", "unknown_user", "half_a_body", "too_large", "no_json"
]
ODDITIES: tuple[Oddity, ...] = get_args(Oddity.__value__)


def trouble(kind: str) -> Fault:
    """What the PBX may do: be busy or away, for a while or until further notice; lose a write, or its answer."""
    update, everything = f"{API}/extension/update", f"{API}/*"
    return {
        "busy": partial(Fault, "errcode", path=everything, times=6, options={"errcode": 70082}),
        "busy for long": partial(Fault, "errcode", path=everything, times=None, options={"errcode": 70082}),
        "away": partial(Fault, "drop", path=everything, times=None),
        "behind a broken tunnel": partial(Fault, "status", path=everything, times=3, status=502),
        "not written, no answer": partial(Fault, "drop", path=update),
        "written, no answer": partial(Fault, "commit_then_drop", path=update),
        "written, partial success": partial(Fault, "errcode_after_commit", path=update, options={"errcode": 1}),
        "written, internal error": partial(Fault, "errcode_after_commit", path=update, options={"errcode": -2}),
        "refused": partial(Fault, "errcode", path=update, options={"errcode": 40002}),
    }[kind]()


AT_WRITES = (
    "not written, no answer",
    "written, no answer",
    "written, partial success",
    "written, internal error",
    "refused",
)
TROUBLES = ("busy", "busy for long", "away", "behind a broken tunnel", *AT_WRITES)


class Play:
    """A company, the processes of the bridge, and what is on its way between them."""

    def __init__(self, desk: Desk, record: PresenceSubscription, company: Company, watched: Watched) -> None:
        self.desk = desk
        self.record = record
        self.company = company
        self.rooms = [desk.room, *(desk.process() for _ in range(PROCESSES - 1))]
        self.queue: list[Update] = []
        self.news: list[tuple[Person, int]] = []
        """What Graph has to announce, the oldest first. It stays here: whatever was sent may be sent again."""
        self.posted: list[bytes] = []
        self._watched = watched
        self._heard: list[tuple[Person, int]] = []
        self._acts = 0

    @property
    def people(self) -> list[Person]:
        return self.company.people

    def person(self, index: int) -> Person:
        return self.people[index % len(self.people)]

    @contextlib.asynccontextmanager
    async def judged(self) -> AsyncIterator[None]:
        """Let something happen, wait until nothing is under way, and judge it."""
        hits, asked, self._acts = self._hits(), len(self.desk.asked()), 0
        yield
        for room in self.rooms:
            await quiet(room)
        for ids in self.desk.asked()[asked:]:
            self._told((one, one.newest) for one in self.people if one.object_id in ids and one.is_followed)
        seen, self._watched.seen = self._watched.seen, []
        if self._acts == 1:  # nothing was looked at before all of it was heard
            self._know()
        self.company.digest(seen, is_clean=hits == self._hits())
        self._know()

    def show(self, person: Person, name: str) -> None:
        """Somebody shows something in Teams."""
        self.desk.teams(person.object_id, name)
        sequence = int(self.desk.world.microsoft.presences.of(person.object_id).sequence)
        if sequence != person.newest:
            person.said[sequence] = name
            self.news.append((person, sequence))

    def choose(self, person: Person, status: str, custom: str) -> None:
        """Somebody chooses something on the phone."""
        person.choose(status, custom)
        self.desk.choose(person.number, status, custom)

    async def announce(self, told: Sequence[tuple[Person, int]], room: Room, *, is_rich: bool = True) -> None:
        """Have a process take a POST about these changes."""
        body = self._body([self._item(*one, is_rich=is_rich) for one in told], [self.desk.token()])
        self.posted.append(body)
        for person, sequence in told:
            person.rumours.add(sequence)
        updates = await self.send(body, room)
        left = {one for update in updates for one in update.look}
        if is_rich and not memory_of(room).heard.late:
            self._told((person, one) for person, one in told if person.is_followed and person.object_id not in left)

    async def send(self, body: bytes, room: Room) -> tuple[Update, ...]:
        """Have a process take a POST, genuine or not; the answer never tells which."""
        self._acts += 1
        answer = await receive(room, {}, body)
        assert (answer.status, answer.text) == (202, "")
        self.queue += answer.updates
        return answer.updates

    async def work(self, room: Room) -> None:
        """Carry out what is queued; what fails is queued again, as the queue does."""
        messages, self.queue = self.queue, []
        for message in messages:
            self._acts += 1
            try:
                self.queue += await carry_out(room, message)
            except (StoreError, PbxError):
                self.queue.append(message)

    async def poll(self, room: Room) -> None:
        """The timer comes."""
        self._acts += 1
        self.queue += await poll(room)

    async def settle(self) -> None:
        """All is well again, a sweep comes, and all that was queued is carried out."""
        self.desk.world.pbx.faults.clear()
        self.desk.later(minutes=11)
        async with self.judged():
            await self.poll(self.rooms[0])
        await self._finish()
        assert await self.desk.room.store.pending() == []

    async def rush(self) -> None:
        """Everybody shows two other things, announced at once to both processes; there is no sweep behind it."""
        await self.desk.load_keys(self.record)
        before = {one.number: one.said[one.newest] for one in self.people}
        first = self._move(before)
        second = self._move(before)
        async with self.judged(), asyncio.TaskGroup() as group:
            group.create_task(self.announce(first, self.rooms[0]))
            group.create_task(self.announce(second, self.rooms[1]))
        await self._finish()

    async def move_on(self) -> None:
        """Everybody asks for something else once more."""
        async with self.judged():
            await self.announce(self._move({}), self.rooms[0])
        await self._finish()

    def _move(self, but: Mapping[str, str]) -> list[tuple[Person, int]]:
        """Have everybody show what asks for something else, and is not in ``but``; answers the news of it."""
        for person in self.people:
            names = names_that_ask(person, self.company.rules)
            self.show(person, next(name for name in names if name != but.get(person.number)))
        return [(person, person.newest) for person in self.people]

    async def _finish(self) -> None:
        """Work on the queue until it is empty, and judge what is shown then."""
        for _ in range(ROUNDS):
            if not self.queue:
                break
            async with self.judged():
                await self.work(self.rooms[0])
        assert self.queue == []
        self.company.judge(self.desk.shown())

    def forged(self, flaw: Flaw, person: Person, shape: TokenShape) -> bytes:
        """A POST that lies about somebody."""
        if flaw == "replay" and self.posted:
            return self.posted[0]
        item = self.desk.rich(self.record, person.object_id, "DoNotDisturb", LONG_AFTER)
        token = self.desk.token(shape, flaw if flaw in TOKEN_FLAWS else None)
        lie = forged_item(item, CERTIFICATE, "wrong_client_state" if flaw == "replay" else flaw)
        basic = self.desk.basic(self.record, person.object_id)
        return self._body([lie, basic] if flaw in TOKEN_FLAWS else [lie], [] if flaw == "missing" else [token])

    def odd(self, oddity: Oddity, person: Person) -> bytes:
        """A POST that is no better, and not among the forgeries of the emulator."""
        lie = self.desk.rich(self.record, person.object_id, "DoNotDisturb", LONG_AFTER)
        tokens = [self.desk.token()]
        match oddity:
            case "wrong_signature":
                other = self.desk.rich(self.record, person.object_id, "Away")["encryptedContent"]["dataSignature"]
                return self._body(
                    [lie | {"encryptedContent": lie["encryptedContent"] | {"dataSignature": other}}], tokens
                )
            case "about_another":
                outside = {"resource": f"communications/presences/{STRANGER}", "resourceData": {"id": STRANGER}}
                return self._body([lie | outside], tokens)
            case "unknown_subscription":
                return self._body([lie | {"subscriptionId": "another-subscription"}], tokens)
            case "unknown_user":
                return self._body([self.desk.basic(self.record, STRANGER)], [])
            case "half_a_body":
                body = self._body([lie], tokens)
                return body[: len(body) // 2]
            case "too_large":
                return self._body([lie] * (LARGEST_BODY // len(msgspec.json.encode(lie)) + 1), tokens)
            case "no_json":
                return b"\xff" + self._body([lie], tokens)

    def _told(self, told: Iterable[tuple[Person, int]]) -> None:
        for person, sequence in told:
            person.rumours.add(sequence)
            self._heard.append((person, sequence))

    def _know(self) -> None:
        for person, sequence in self._heard:
            person.known = max(person.known, sequence)
        self._heard.clear()

    def _hits(self) -> int:
        return sum(fault.hits for fault in self.desk.world.pbx.faults)

    def _item(self, person: Person, sequence: int, *, is_rich: bool) -> dict[str, Any]:
        if is_rich:
            return self.desk.rich(self.record, person.object_id, person.said[sequence], f"{sequence:020}")
        return self.desk.basic(self.record, person.object_id)

    def _body(self, items: Sequence[dict[str, Any]], tokens: Sequence[str]) -> bytes:
        return msgspec.json.encode({"value": items, "validationTokens": tokens})


async def quiet(room: Room) -> None:
    """Wait until a process has nothing under way."""
    memory = memory_of(room)
    await asyncio.gather(*memory.heard.late)
    for task in (memory.heard.task, memory.drain):
        if task is not None:
            await asyncio.wait([task])
    await counted(room)
    await memory.trust.close()


# What may happen


@dataclass(frozen=True)
class Shows:
    """Somebody shows something in Teams."""

    who: int
    name: str

    async def happen(self, play: Play) -> None:
        play.show(play.person(self.who), self.name)


@dataclass(frozen=True)
class Heard:
    """Somebody shows something in Teams, and Graph announces it at once; perhaps the PBX makes trouble then."""

    who: int
    name: str
    process: int
    trouble: str = ""

    async def happen(self, play: Play) -> None:
        person = play.person(self.who)
        if self.trouble:
            play.desk.world.pbx.faults.append(trouble(self.trouble))
        play.show(person, self.name)
        await play.announce([(person, person.newest)], play.rooms[self.process])


@dataclass(frozen=True)
class Announced:
    """Graph announces changes, counted back from the newest: in this order, so many in a POST, to both processes at
    once, perhaps while the timer polls."""

    back: tuple[int, ...]
    together: int
    is_rich: bool
    is_polled: bool

    async def happen(self, play: Play) -> None:
        news = [play.news[-1 - back % len(play.news)] for back in self.back] if play.news else []
        posts = [news[start : start + self.together] for start in range(0, len(news), self.together)]
        sent = [
            play.announce(post, play.rooms[number % PROCESSES], is_rich=self.is_rich)
            for number, post in enumerate(posts)
        ]
        async with asyncio.TaskGroup() as group:
            for one in sent:
                group.create_task(one)
            if self.is_polled:
                group.create_task(Polled(0, 0).happen(play))


@dataclass(frozen=True)
class Chosen:
    """Somebody chooses a status on the phone, or gets a custom presence."""

    who: int
    status: str
    custom: str

    async def happen(self, play: Play) -> None:
        play.choose(play.person(self.who), self.status, self.custom)


@dataclass(frozen=True)
class Polled:
    """The timer comes, so many minutes later."""

    process: int
    minutes: float

    async def happen(self, play: Play) -> None:
        play.desk.later(minutes=self.minutes)
        await play.poll(play.rooms[self.process])


@dataclass(frozen=True)
class Worked:
    """The queue is worked on."""

    process: int

    async def happen(self, play: Play) -> None:
        await play.work(play.rooms[self.process])


@dataclass(frozen=True)
class Troubled:
    """The PBX begins to make trouble, or stops all of it."""

    kind: str

    async def happen(self, play: Play) -> None:
        faults = play.desk.world.pbx.faults
        if self.kind:
            faults.append(trouble(self.kind))
        else:
            faults.clear()


@dataclass(frozen=True)
class Restarted:
    """A process ends and another one takes its place."""

    process: int

    async def happen(self, play: Play) -> None:
        play.rooms[self.process] = play.desk.process()


@dataclass(frozen=True)
class Forged:
    """Somebody else sends something."""

    flaw: Flaw
    who: int
    process: int
    shape: TokenShape

    @property
    def is_hearsay(self) -> bool:
        """Nothing is wrong with it but that it is not news."""
        return self.flaw == "replay"

    async def happen(self, play: Play) -> bytes:
        body = play.forged(self.flaw, play.person(self.who), self.shape)
        await play.send(body, play.rooms[self.process])
        return body


@dataclass(frozen=True)
class Odd:
    """Something else arrives."""

    oddity: Oddity
    who: int
    process: int

    @property
    def is_hearsay(self) -> bool:
        """It may well be true, and is about nobody we know."""
        return self.oddity == "unknown_user"

    async def happen(self, play: Play) -> bytes:
        body = play.odd(self.oddity, play.person(self.who))
        await play.send(body, play.rooms[self.process])
        return body


@dataclass(frozen=True)
class Preferred:
    """Somebody declines, or leaves it to the rules; and chooses a map."""

    who: int
    follows: bool
    own: int

    async def happen(self, play: Play) -> None:
        person = play.person(self.who)
        person.is_followed, person.own = self.follows, MAPS[self.own]
        follows: Literal["rule", "off"] = "rule" if self.follows else "off"
        decided = await set_preferences(
            play.rooms[0], [person.object_id], follows=follows, own_map=choices(person.own), by="person"
        )
        play.queue += decided.updates


@dataclass(frozen=True)
class Ruled:
    """The administrator changes the rules."""

    changes: int
    respects: bool

    async def happen(self, play: Play) -> None:
        rules = play.company.rules
        rules.changes, rules.respects_choices = MAPS[self.changes], self.respects
        await play.desk.rules(default_map=choices(rules.changes), respect_manual=self.respects)


type Event = (
    Shows | Heard | Announced | Chosen | Polled | Worked | Troubled | Restarted | Forged | Odd | Preferred | Ruled
)

who = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7])
process = st.integers(0, PROCESSES - 1)
maps = st.integers(0, len(MAPS) - 1)
announcements = st.builds(
    Announced,
    back=st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple),
    together=st.integers(1, 3),
    is_rich=st.sampled_from([True, True, True, False]),
    is_polled=st.sampled_from([False, False, True]),
)
shows = st.builds(Shows, who, st.sampled_from(NAMES))
heard = st.builds(Heard, who, st.sampled_from(NAMES), process, st.sampled_from(["", "", "", *AT_WRITES]))
chosen = st.builds(Chosen, who, st.sampled_from(CHOICES), st.sampled_from(CUSTOM))
FORGERIES: list[Forged | Odd] = [
    *(Forged(flaw, 0, 0, shape) for flaw in FLAWS for shape in get_args(TokenShape.__value__)),
    *(Odd(oddity, 0, 0) for oddity in ODDITIES),
]
MANY = len(FORGERIES)
forgeries = st.builds(replace, st.sampled_from(FORGERIES), who=who, process=process)
happenings: Mapping[int, Sequence[st.SearchStrategy[Event]]] = {
    6: [heard],
    3: [shows, announcements],
    2: [chosen],
    1: [
        forgeries,
        st.builds(Polled, process, st.sampled_from([0.5, 0.5, 11])),
        st.builds(Worked, process),
        st.builds(Troubled, st.sampled_from([*[""] * 6, *TROUBLES])),
        st.builds(Restarted, process),
        st.builds(Preferred, who, st.sampled_from([True, True, False]), maps),
        st.builds(Ruled, maps, st.booleans()),
    ],
}
"""By how often they come."""
events = st.sampled_from([one for times, some in happenings.items() for one in some for _ in range(times)]).flatmap(
    lambda one: one
)


# The company


def choices(asks: Mapping[str, Ask]) -> dict[str, PresenceChoice]:
    """Asks as settings have them."""
    return msgspec.convert({name: ask or "leave" for name, ask in asks.items()}, dict[str, PresenceChoice])


def clock(world: World) -> float:
    """Seconds since 1970 in a world."""
    return world.now.timestamp()


class Stage:
    """Where companies are made."""

    def __init__(self, *means: Any) -> None:
        self._means = means

    @contextlib.asynccontextmanager
    async def company(self, size: int) -> AsyncIterator[Play]:
        """So many people, all of them followed, and two processes, one of which has the key already."""
        async with empty_world(*self._means) as world:
            world.pbx.dispatcher = watched = Watched(world.pbx.machine, world.pbx.violations)
            watched.seen = []
            desk = Desk(world)
            await desk.open()
            try:
                ids = await desk.staff(size)
                rows = await desk.room.store.some(ids)
                people = [Person(one, rows[one].number, rows[one].pbx_id or 0) for one in ids]
                record = await desk.subscribe(ids)
                await desk.load_keys(record)
                with (
                    patch("pbx.client.wait_random_exponential", lambda **_: wait_none()),
                    patch.object(SharedToken.__init__, "__defaults__", (partial(clock, world),)),
                ):
                    yield Play(desk, record, Company(people), watched)
                assert world.pbx.violations.found == []
            finally:
                await desk.close()


@pytest.fixture
def stage(azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]) -> Stage:
    return Stage(azurite, certificate, signing_keys)


class Log(logging.Handler):
    """What the bridge says."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.said: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record)

    @property
    def text(self) -> str:
        """All of it, with tracebacks."""
        form = logging.Formatter()
        return "\n".join(form.format(record) for record in self.said)


@contextlib.contextmanager
def logged() -> Iterator[Log]:
    log, root = Log(), logging.getLogger()
    level = root.level
    root.addHandler(log)
    root.setLevel(logging.DEBUG)
    try:
        yield log
    finally:
        root.removeHandler(log)
        root.setLevel(level)


bounded = partial(
    settings,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@bounded(max_examples=25)
@example(3, [Heard(0, "Busy", 0, "written, no answer"), Heard(0, "OutOfOffice", 0, "not written, no answer")])
@example(3, [Heard(0, "Busy", 0, "written, internal error"), Heard(0, "OutOfOffice", 0)])
@example(3, [Heard(0, "Away", 0), Heard(0, "OutOfOffice", 0, "written, no answer"), Heard(0, "Away", 0, "refused")])
@example(3, [Chosen(0, "lunch", ""), Heard(0, "Away", 0), Heard(0, "Busy", 0)])
@example(3, [Chosen(0, "available", "On site"), Heard(0, "Away", 0)])
@example(3, [Preferred(0, False, 0), Heard(0, "Away", 0)])
@example(3, [Shows(0, "Busy"), Heard(0, "OutOfOffice", 0), Announced((1,), 1, is_rich=True, is_polled=False)])
@given(size=st.integers(3, 8), script=st.lists(events, min_size=12, max_size=25))
async def test_whatever_happens_the_newest_is_shown_in_the_end_and_no_law_is_broken(
    stage: Stage, size: int, script: list[Event]
) -> None:
    with logged() as log:
        async with stage.company(size) as play:
            for event in script:
                async with play.judged():
                    await event.happen(play)
            await play.settle()
            await play.rush()
            await play.move_on()
            shown = {person.number: person for person in play.people if person.is_followed and not person.shown[1]}
            for number, person in shown.items():
                ask = person.ask(person.newest, play.company.rules)
                assert play.desk.shown()[number] == ask, "a choice lasted although it was noticed before"
    assert "Traceback" not in log.text


@bounded(max_examples=5)
@given(order=st.permutations(FORGERIES), ways=st.lists(st.tuples(who, process), min_size=MANY, max_size=MANY))
async def test_forgeries_alone_change_nothing_are_counted_and_not_repeated(
    stage: Stage, order: list[Forged | Odd], ways: list[tuple[int, int]]
) -> None:
    script = [replace(one, who=person, process=room) for one, (person, room) in zip(order, ways, strict=True)]
    async with stage.company(3) as play:
        for index, name in enumerate(NAMES[: len(play.people)]):
            await Heard(index, name, 0).happen(play)
        await play.settle()
        await play.desk.load_keys(play.record)  # who lacks them asks Graph instead, and refuses nothing
        before = await state(play)
        bodies: list[bytes] = []
        with logged() as log:
            for event in script:
                count = await refused(play)
                bodies.append(await event.happen(play))
                await quiet(play.rooms[event.process])
                assert event.is_hearsay or await refused(play) > count, event
            for _ in range(ROUNDS):
                await play.work(play.rooms[0])
            assert play.queue == []
        assert await state(play) == before
    for value in {found.decode() for body in bodies for found in WORTH_HIDING.findall(body)}:
        assert value not in log.text


async def state(play: Play) -> tuple[Any, ...]:
    """What must not change: the records of users, what extensions show, and how often the PBX was asked."""
    return await play.desk.room.store.all(), play.desk.shown(), len(play.desk.world.pbx.requests)


async def refused(play: Play) -> int:
    """Notifications that were not believed so far, in storage and in the processes."""
    stored = (await play.desk.room.store.clock()).clock.refused
    return stored + sum(memory_of(room).refused for room in play.rooms)
