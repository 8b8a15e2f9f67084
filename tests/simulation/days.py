"""Days in the life of a connection: people change things, something breaks, runs go on, and every run is judged."""

import datetime
from collections.abc import Awaitable, Callable
from random import Random

import msgspec

from local.azurite import Azurite
from local.microsoft.keys import KeyRing
from local.sample import CLIENT_SECRET, EXPIRED_CLIENT_SECRET
from local.tls import ServerCertificate
from store.errors import StoreError
from store.leases import RUN
from store.runs import Run
from sync.applying import decode_intents
from sync.messages import Message
from sync.service import Conflict, Mode, decide, request_run, store_secret, tick
from tests.engine.world import PBX_SECRET
from tests.simulation import changes, weather
from tests.simulation.invariants import LAWS, Law, violations
from tests.simulation.observed import FIELDS, Circumstances, Ran, Snapshot
from tests.simulation.stage import Killed, Stage, small_chunks, staged

SCHEDULED = datetime.time(0, 30, 5, tzinfo=datetime.UTC)
WARINESS = datetime.timedelta(minutes=25)
MODES: tuple[Mode, ...] = ("incremental", "incremental", "full")


def repeat(seed: int, days: int) -> str:
    """How to see the same days again."""
    return f"See it again: make simulate SEED={seed} DAYS={max(days, 1)} SEEDS=1"


class Broken(Exception):
    """A law was broken. The text is the whole story up to there."""

    def __init__(self, seed: int, day: int, story: list[str], found: list[str]) -> None:
        super().__init__("\n".join([f"Seed {seed}, day {day}:", *story, "", "BROKEN:", *found, "", repeat(seed, day)]))
        self.found = found


class Story(msgspec.Struct, frozen=True):
    """What a seed came to."""

    seed: int
    days: int
    runs: int
    done: int
    """Operations carried out."""


async def simulate(
    azurite: Azurite,
    certificate: ServerCertificate,
    keys: KeyRing,
    *,
    seed: int,
    days: int,
    laws: list[Law] = LAWS,
) -> Story:
    """Play ``days`` days of the seed; ``Broken`` when a law is."""
    chance = Random(seed)  # noqa: S311 - the same seed has to give the same days
    tenant, extensions = changes.first_tenant(chance), changes.first_extensions(chance)
    async with staged(azurite, certificate, keys, tenant, extensions) as stage:
        with small_chunks(chance.choice([1, 3, 100])):
            simulation = Simulation(stage, chance, seed, laws)
            await simulation.begin()
            for _ in range(days):
                await simulation.live_a_day()
            return Story(seed, days, simulation.runs, simulation.done)


class Simulation:
    """One connection, its people, and what is known about its past."""

    def __init__(self, stage: Stage, chance: Random, seed: int, laws: list[Law]) -> None:
        self._stage = stage
        self._world = stage.world
        self._chance = chance
        self._seed = seed
        self._laws = laws
        self._day = 0
        self._story: list[str] = []
        self._last: Ran | None = None
        self._seen = Snapshot(extensions={}, links={}, intents={}, cursor=None, counted=0, held=frozenset())
        self._touched: set[int] = set()
        self._rearranged = False
        self._waiting: set[str] = set()
        self._up_to_date = False
        self._undecided: Run | None = None
        self._wary_until = self._world.now
        self._stage.sensitive |= {CLIENT_SECRET, PBX_SECRET, EXPIRED_CLIENT_SECRET}
        self.runs = 0
        self.done = 0

    # Days

    async def begin(self) -> None:
        """Connect, and make the first sync."""
        await self._world.secrets()
        rules, guard = changes.rules(self._chance), changes.guard(self._chance)
        self._tell(f"connects with {rules} {guard}")
        await self._world.settings(lambda document: document["guard"].update(guard))
        for message in await self._world.enable(**rules):
            await self._perform(message, "the first run")

    async def live_a_day(self) -> None:
        self._day += 1
        chance = self._chance
        self._stage.advance(datetime.timedelta(hours=8, minutes=chance.randint(0, 59)))
        await self._change_things()
        scenes: list[Callable[[], Awaitable[None]]] = [
            self._calm, self._calm, self._look_first, self._stormy, self._stormy, self._stormy, self._deadly,
            self._deadly, self._locked_out, self._decide, self._amid, self._slow, self._think_twice,
        ]  # fmt: skip
        await chance.choice(scenes)()
        if chance.random() < 0.35:
            await self._change_things()
            await self._ask("a calm run", chance.choice(MODES))
        if self._undecided is not None and chance.random() < 0.4:
            await self._decide()
        await self._night()

    async def _night(self) -> None:
        """The scheduled run at half past midnight, once; some nights another one right behind it."""
        tomorrow = (self._world.now + datetime.timedelta(days=1)).date()
        self._stage.advance_to(datetime.datetime.combine(tomorrow, SCHEDULED))
        messages = await tick(self._world.connection, self._world.tell())
        runs = [await self._world.connection.runs.get(message.run) for message in messages]
        scheduled = [run for run in runs if run is not None and run.started_by == "schedule" and not run.started_at]
        again = await tick(self._world.connection, self._world.tell())
        if len(scheduled) != 1 or again:
            self._break([f"the_schedule_is_served_once: the tick queued {runs}, the next one {again}"])
        for message in messages:
            await self._perform(message, "at night")
        if self._chance.random() < 0.35:
            await self._ask("once more", self._chance.choice(MODES))

    # What people do

    async def _change_things(self) -> None:
        chance = self._chance
        for _ in range(chance.choice([0, 1, 2, 3])):
            self._in_entra(chance.choice(changes.TENANT))
        if chance.random() < 0.25:
            await self._new_rules(changes.new_rules(chance))
        if chance.random() < 0.15:
            await self._new_guard()
        if chance.random() < 0.3:
            self._by_hand(chance.choice(changes.BY_HAND))
        if chance.random() < 0.3:
            self._tell(weather.oddities(self._world, chance))
            self._last = None
        if chance.random() < 0.1:
            self._tell(weather.expire_cursor(self._world))

    def _in_entra(self, change: changes.Change) -> None:
        self._tell(f"Entra: {change(self._world, self._chance)}")
        self._last, self._up_to_date = None, False

    async def _new_rules(self, rules: dict[str, object]) -> None:
        self._tell(f"rules: {rules}")
        await self._world.enable(**rules)
        self._last, self._up_to_date = None, False

    async def _new_guard(self) -> None:
        guard = changes.guard(self._chance)
        self._tell(f"guard: {guard}")
        await self._world.settings(lambda document: document["guard"].update(guard))
        self._last, self._up_to_date = None, False

    def _by_hand(self, change: changes.Change) -> set[int]:
        """The ids of extensions that were made."""
        before = self._extensions()
        self._tell(f"by hand: {change(self._world, self._chance)}")
        after = self._extensions()
        self._touched |= {one for one in before.keys() & after.keys() if before[one] != after[one]}
        self._rearranged |= before.keys() != after.keys() or change is changes.licence
        # An address that somebody freed or took by hand is news to whoever wants it.
        self._rearranged |= any(before[one]["email_addr"] != after[one]["email_addr"] for one in before if one in after)
        self._last = None
        return after.keys() - before.keys()

    # Scenes

    async def _calm(self) -> None:
        await self._ask("a calm run", self._chance.choice(MODES))

    async def _look_first(self) -> None:
        """A preview, and then the run."""
        mode = self._chance.choice(MODES)
        await self._ask("a preview", mode, preview=True)
        await self._ask("the run after it", mode)

    async def _stormy(self) -> None:
        """A run with faults around it; then the next try, by itself or asked for."""
        self._tell(weather.storm(self._world, self._stage.gate, self._chance))
        # After a sign-in that went wrong the bridge leaves the PBX alone for a while.
        self._wary_until = self._world.now + WARINESS
        await self._ask("a stormy run", self._chance.choice(MODES), clean=False, preview=self._chance.random() < 0.1)
        if self._chance.random() < 0.5:
            await self._wait_for_retry()
        elif self._chance.random() < 0.7:
            self._stage.advance(self._chance.choice([datetime.timedelta(), WARINESS]))
            await self._ask("after the storm", self._chance.choice(MODES))

    async def _wait_for_retry(self) -> None:
        health = await self._world.connection.health.load()
        if health.retry_at is None:
            return
        self._stage.advance_to(datetime.datetime.fromisoformat(health.retry_at) + datetime.timedelta(seconds=1))
        for message in await tick(self._world.connection, self._world.tell()):
            await self._perform(message, "another try")

    async def _deadly(self) -> None:
        """A run that is killed, and executed again; or left until it is found."""
        create, update, delete = weather.WRITES
        behind, change = self._chance.choice(
            [("", changes.edit), (create, changes.hire), (create, changes.hire), (update, changes.edit),
             (delete, changes.fire)]
        )  # fmt: skip
        for _ in range(self._chance.randint(1, 4)):
            self._in_entra(change)
        self._tell(weather.kill(self._stage.gate, self._chance, behind))
        await self._ask("a run to be killed", self._chance.choice(MODES), clean=False)

    async def _locked_out(self) -> None:
        """Wrong secrets for a while."""
        connection, chance = self._world.connection, self._chance
        wrong = chance.choice(["entra", "pbx"])
        self._tell(f"the secret of {wrong} is wrong")
        self._last = None
        await self._world.secrets(**{wrong: EXPIRED_CLIENT_SECRET if wrong == "entra" else "wrong-secret"})
        for _ in range(chance.randint(1, 3)):
            await self._ask("a run locked out", chance.choice(MODES), clean=False)
            self._stage.advance(datetime.timedelta(minutes=chance.choice([1, 40])))
        _, first = await store_secret(connection, "entra-client-secret", CLIENT_SECRET, self._world.tell())
        _, second = await store_secret(connection, "pbx-client-secret", PBX_SECRET, self._world.tell())
        self._tell("the secrets are right again")
        for message in [*first, *second]:
            await self._perform(message, "with the right secret")

    async def _decide(self) -> None:
        """Approve or reject what the last run held."""
        if self._undecided is None:
            await self._calm()
        run, self._undecided = self._undecided, None
        if run is None:
            return
        decision = "approved" if self._chance.random() < 0.7 else "rejected"
        try:
            _, messages = await decide(
                self._world.connection, run.id, "approved" if decision == "approved" else "rejected", self._world.tell()
            )
        except Conflict:
            return
        self._tell(f"the held deletions of {run.id} are {decision}")
        clean = self._chance.random() < 0.7
        if not clean and messages:
            self._tell(weather.storm(self._world, self._stage.gate, self._chance))
            self._wary_until = self._world.now + WARINESS
        for message in messages:
            await self._perform(message, "the approved deletions", clean=clean)

    async def _amid(self) -> None:
        """People change things while a run goes on."""
        made: set[int] = set()
        gate, chance = self._stage.gate, self._chance

        def change() -> None:
            if chance.random() < 0.3:
                made.update(self._by_hand(changes.make_extension))
            else:
                self._in_entra(chance.choice([changes.hire, changes.edit, changes.swap_mail]))

        gate.at = {chance.randint(0, 25): change for _ in range(3)}
        await self._ask("a run with changes meanwhile", chance.choice(MODES), clean=False, made=made)

    async def _slow(self) -> None:
        """A run that is out of time and continues."""
        self._stage.hourglass.chunks = self._chance.choice([0, 1, 2])
        self._tell(f"time for {self._stage.hourglass.chunks} chunks")
        await self._ask("a slow run", self._chance.choice(MODES))
        self._stage.hourglass.chunks = None

    async def _think_twice(self) -> None:
        """A change that reaches the PBX without the bridge's knowing, and is taken back in Entra."""
        people = [entity for _, entity in self._world.microsoft.directory.live("user")]
        if not people:
            return
        directory, entity = self._world.microsoft.directory, self._chance.choice(people)
        before = entity.properties.get("jobTitle")
        for title in ("Thought better of", before):
            directory.update(entity, {"jobTitle": title})
            self._tell(f"Entra: {entity.properties['displayName']} ({entity.id[:8]}) becomes {title}")
            self._last, self._up_to_date = None, False
            is_lost = title != before
            if is_lost:
                self._wary_until = self._world.now + WARINESS
                self._tell(weather.lose_updates(self._world))
            else:
                self._stage.advance(WARINESS)
            await self._ask("a run", "incremental", clean=not is_lost)

    # Runs

    async def _ask(
        self, label: str, mode: Mode, *, preview: bool = False, clean: bool = True, made: set[int] | None = None
    ) -> None:
        run, message = await self._requested(mode, preview=preview)
        if message is not None:
            await self._perform(message, f"{label} ({mode}, {run})", clean=clean, made=made)

    async def _requested(self, mode: Mode, *, preview: bool) -> tuple[str, Message | None]:
        try:
            run, message = await request_run(
                self._world.connection, self._world.tell(), started_by="api", mode=mode, preview=preview
            )
        except (StoreError, Killed):
            weather.clear(self._world, self._stage.gate)
            self._tell("the request of a run failed")
            return "", None
        return run.id, message

    async def _perform(self, message: Message, label: str, *, clean: bool = True, made: set[int] | None = None) -> None:
        """Execute a run and judge it."""
        self._stage.advance(datetime.timedelta(minutes=2))
        gate = self._stage.gate
        with gate.opened():
            before = self._snapshot()
            earlier = {item.number async for item in self._world.connection.runs.items(message.run)}
        await self._execute(message)
        weather.clear(self._world, gate)
        run = await self._world.connection.runs.get(message.run)
        if run is None:
            self._break([f"the run {message.run} is gone"])
            return
        items = await self._world.items(run)
        ran = Ran(
            run=run,
            items=[item for item in items if item.number not in earlier],
            all_items=items,
            before=before,
            after=await self._look(),
            during=await self._circumstances(
                run, clean=clean and self._world.now > self._wary_until, made=made or set()
            ),
            previous=self._last,
            up_to_date=self._up_to_date,
            spoken=f"{self._stage.spoken()}\n{run!r}\n{items!r}",
            sensitive=self._stage.secrets(),
            violations=tuple(map(repr, self._world.pbx.violations.found)),
            signs_in_blocked=bool(self._world.pbx.machine.blocked.until),
        )
        self._judge(ran, label)

    async def _execute(self, message: Message) -> None:
        """Execute; a process that dies or loses its storage is followed by another one, or later by the next tick."""
        for _ in range(3):
            try:
                await self._world.execute(message)
            except (Killed, StoreError) as error:
                self._tell(f"  the process ended: {type(error).__name__}")
            else:
                return
            weather.clear(self._world, self._stage.gate)
            self._stage.advance(datetime.timedelta(minutes=2))
            draw = self._chance.random()
            if draw < 0.3:
                return
            if draw < 0.5:
                self._tell(f"  {weather.kill(self._stage.gate, self._chance)}")

    def _judge(self, ran: Ran, label: str) -> None:
        run, items = ran.run, ran.items
        fault = f" ({run.fault.code}: {run.fault.message})" if run.fault else ""
        self._tell(f"{label}: {run.status}, {run.message}{fault}")
        self._story += [
            f"      {item.operation} {item.outcome} {item.name} {item.extension}: {item.reason}" for item in items
        ]
        found = violations(ran, self._laws)
        if found:
            self._break([*found, self._content(ran)])
        self._remember(ran)

    def _remember(self, ran: Ran) -> None:
        self.runs += 1
        self.done += sum(item.outcome == "done" for item in ran.items)
        self._last = ran
        if ran.run.preview:
            return
        has_failed = any(item.outcome == "failed" for item in ran.items)
        self._up_to_date = (self._up_to_date or ran.is_clean_success) and not has_failed
        if ran.is_clean_full:
            self._touched.clear()
            self._rearranged = False
            self._waiting.clear()
        for item in ran.items:
            has_to_wait = item.outcome in {"skipped", "held"} or any("left as it is" in note for note in item.notes)
            self._waiting.discard(item.object_id)
            self._waiting |= {item.object_id} if has_to_wait else set()
        if any(item.outcome == "held" for item in ran.items) and ran.is_finished:
            self._undecided = ran.run

    def _snapshot(self) -> Snapshot:
        """The PBX as it is, and the records as the last look found them: only runs change them."""
        return msgspec.structs.replace(self._seen, extensions=self._extensions())

    async def _look(self) -> Snapshot:
        connection = self._world.connection
        health = await connection.health.load()
        self._seen = Snapshot(
            extensions=self._extensions(),
            links={link.object_id: link for link in await self._world.links()},
            intents={
                intent.link.number: intent.link.object_id
                for intent in decode_intents(await connection.leases.note(RUN))
            },
            cursor=await connection.cursors.load("users"),
            counted=health.counts.get("users", 0),
            held=frozenset(health.held),
        )
        return self._seen

    def _extensions(self) -> dict[int, dict[str, str]]:
        return {
            extension.id: {name: getattr(extension, name) for name in ("number", *FIELDS)}
            for extension in self._world.pbx.machine.directory
        }

    async def _circumstances(self, run: Run, *, clean: bool, made: set[int]) -> Circumstances:
        settings = (await self._world.connection.settings.load()).settings
        directory = self._world.microsoft.directory
        scope = settings.users.scope
        groups = [directory.find("group", one) for one in scope.group_ids] if scope.kind == "groups" else []
        members = {
            entity.id
            for group in groups
            if group is not None
            for entity in directory.transitive_members(group)
            if entity.kind == "user"
        }
        held = []
        if run.decides is not None:
            decided = self._world.connection.runs.items(run.decides)
            held = [item.object_id async for item in decided if item.outcome == "held"]
        return Circumstances(
            settings=settings,
            people={entity.id: dict(entity.properties) for _, entity in directory.live("user")},
            members=frozenset(members) if scope.kind == "groups" and None not in groups else None,
            scope_is_broken=None in groups,
            capacity=self._world.pbx.machine.capacity.extensions,
            approved=frozenset(held),
            clean=clean,
            touched=frozenset(self._touched),
            rearranged=self._rearranged,
            waiting=frozenset(self._waiting),
            made_meanwhile=frozenset(made),
        )

    # The story

    def _tell(self, words: str) -> None:
        self._story.append(f"  {self._world.now:%d.%m. %H:%M} {words}")

    def _break(self, found: list[str]) -> None:
        raise Broken(self._seed, self._day, self._story, found)

    def _content(self, ran: Ran) -> str:
        lines = [f"  {key}: {dict(one)}" for key, one in ran.after.extensions.items()]
        links = [
            f"  {one.object_id[:8]} {one.state} {one.number} id {one.pbx_id} {one.name} {one.written}"
            for one in ran.after.links.values()
        ]
        people = [
            f"  {key[:8]} {person['displayName']} {person.get('mail')} {person['accountEnabled']} {person['userType']}"
            f" {person.get('employeeId')}"
            for key, person in ran.during.people.items()
        ]
        return "\n".join(["EXTENSIONS", *lines, "LINKS", *links, "PEOPLE", *people])
