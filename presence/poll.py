"""Asks Graph about users whose changes it does not announce, and now and then about everybody.

Nothing is lost for good: whatever notification, write or process was, the next sweep finds the difference.
"""

import asyncio
import contextlib
import datetime
import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from graph.client import Graph
from graph.errors import ConsentMissing, GraphError, NotFound, Retry, Stop
from graph.presence import get_presences
from pbx.errors import PbxError
from pbx.presence import list_presence
from presence.attention import UNREAD, UNWRITTEN, tell_reason
from presence.doubt import split
from presence.hearing import Said, announced, as_text, hear, lost_by, stamp
from presence.mapping import effective_map, follows, target_of
from presence.messages import Update
from presence.push import PENDING_SECONDS, push_pending, submit
from presence.refusals import count
from presence.room import Known, Room, Rules, memory_of
from presence.subscriptions import end_all, ensure, is_due, wake
from presence.writing import LOOK_SECONDS
from store.document import Presence
from store.errors import Changed, SecretMissing, StoreError
from store.links import Link
from store.presence import Change, Clock, Source, Teams, UserPresence

log = logging.getLogger("presence")

SWEEP = datetime.timedelta(minutes=10)
SWEPT_AGAIN = datetime.timedelta(minutes=1)
"""After one that failed, or before one that notes of processes ask for."""
AHEAD = datetime.timedelta(minutes=10)
"""What was noted for a later moment than this was noted by a clock that is wrong."""
EARLY = datetime.timedelta(seconds=2)
"""A timer is never quite on time."""
PATIENCE = datetime.timedelta(minutes=10)
"""A fault that passes by itself may last so long before an administrator is told."""
MANY_LOST = 3
"""From so many on, and a tenth of its users, a subscription that announces too little is made anew."""
GROUPS_ACTION = (
    "In the Entra admin center, open the app registration > API permissions, add the application permission "
    "Group.Read.All of Microsoft Graph, and grant admin consent; or let presence follow everybody."
)
REMEMBERED = datetime.timedelta(minutes=5)
"""So long a process remembers what polled users showed, and records only what changes."""
NOTICED_SECONDS = 2 * LOOK_SECONDS
LONGEST_REST = 600.0
"""Seconds for which Graph may ask not to be asked; then it is tried again all the same."""
TRIES = 5
AT_ONCE = 50
"""So many changed users are written at once; more are left to a message."""
PUSH_SECONDS = 5.0


async def poll(room: Room) -> list[Update]:
    """What the timer asks for every 10 s; answers the messages to queue. While presence is off it costs one read."""
    settings = (await room.settings.load()).settings
    if not settings.presence.enabled:
        return []
    return await _poll(room, Rules(settings, await room.health.load()))


async def look_again(room: Room) -> list[Update]:
    """The rules, the users or the state of the connection changed: begin, find out anew whom it is about, or end what
    Graph announces."""
    rules = Rules((await room.settings.load()).settings, await room.health.load())
    memory_of(room).forget_rules()
    if rules.are_on:
        return await _poll(room, rules, is_asked=True)
    for trouble in await end_all(room):
        log.warning("%s", trouble)
    await room.store.forget_clock()
    await room.health.drop_reasons(UNREAD, UNWRITTEN)
    return []


async def carry_out(room: Room, update: Update) -> list[Update]:
    """Do what a message asks for; answers the messages that follow. Raises what passes by itself."""
    rules = await memory_of(room).rules(room, room.now())
    if not rules.are_on:  # or they were not, before presence was switched on
        memory_of(room).forget_rules()
        rules = await memory_of(room).rules(room, room.now())
    if not rules.are_on:
        return []
    done = [await _looked(room, rules, await ensure(room, rules), "poll")] if update.subscriptions else []
    if update.look:
        done.append(await _looked(room, rules, update.look, "notification"))
    is_left = not done or not all(done)
    return [Update(room.id)] if is_left and await push_pending(room) else []


async def _looked(room: Room, rules: Rules, object_ids: Iterable[str], source: Source) -> bool:
    """Ask Graph about users, record and write what is new. ``False`` when something is left."""
    wanted = [object_id.lower() for object_id in object_ids]

    async def ask(some: Sequence[str]) -> dict[str, str]:
        return await _recorded(room, rules, some, source)

    together = memory_of(room).heard.looks[source]
    found = await together.ask(wanted, ask) if wanted else {}
    pending = {object_id: found[object_id] for object_id in wanted if object_id in found}
    done = submit(room, pending, pending)
    await asyncio.wait([done], timeout=PENDING_SECONDS)
    return done.done() and done.result()


async def _recorded(room: Room, rules: Rules, object_ids: Sequence[str], source: Source) -> dict[str, str]:
    """Ask Graph about users and record what is new. Answers who of them is pending, and when that was heard of."""
    rows = await room.store.some(object_ids)
    followed = [key for key, row in rows.items() if row.is_followed]
    if not followed:
        return {}
    async with await room.open_graph(rules.settings, rules.health) as graph:
        said = await _said(room, graph, followed, source)
    await room.store.change(said, lambda key, row: _heard(row, said[key]))
    rows = await room.store.some(said, shelved=True)  # what was pending before has to be written, too
    return {key: row.heard_at for key, row in rows.items() if row.is_pending and row.is_followed}


async def _poll(room: Room, rules: Rules, *, is_asked: bool = False) -> list[Update]:
    if not rules.are_on:
        return []
    await count(room)
    memory = memory_of(room)
    memory.is_unswept = memory.is_unswept or is_asked  # until this process or another one has done it
    for _ in range(TRIES):
        kept = await room.store.clock()
        due = _due(room, rules, kept.clock)
        if due.clock == kept.clock or await room.store.set_clock(due.clock, kept.etag):
            return await _carry_out(room, rules, due)
    return []  # others do it all the time


class _Due(msgspec.Struct, frozen=True):
    """What is due."""

    clock: Clock
    """As it is noted before it is done, so that no other process does it too."""
    is_poll: bool
    is_sweep: bool
    is_left: bool
    """Users are pending whom nobody is writing."""
    is_changed: bool
    """The rules are others than those of the last sweep, if there was one."""


def _due(room: Room, rules: Rules, clock: Clock) -> _Due:
    now, presence, memory = room.now(), rules.settings.presence, memory_of(room)
    digest = _digest(presence)
    is_doubted, noted = split(clock, now)
    is_doubted = is_doubted and _is_due(clock.swept_at, SWEPT_AGAIN, now)  # under load somebody always is late
    is_changed = bool(clock.rules) and digest != clock.rules
    may_ask = not clock.ask_after or _is_due(clock.ask_after, datetime.timedelta(0), now)
    is_wanted = memory.is_unswept or is_doubted or digest != clock.rules or _is_due(clock.swept_at, SWEEP, now)
    is_sweep = is_wanted and may_ask
    is_poll = may_ask and _is_due(clock.polled_at, datetime.timedelta(seconds=presence.poll_seconds), now)
    is_left = memory.is_left or (bool(clock.left_at) and _is_due(clock.left_at, datetime.timedelta(0), now))
    if is_left:
        clock = msgspec.structs.replace(clock, left_at="")
    if is_sweep or is_poll:
        clock = msgspec.structs.replace(clock, polled_at=stamp(now), ask_after="")
    if is_sweep:
        clock = msgspec.structs.replace(clock, swept_at=stamp(now), rules=digest, doubts=noted.doubts)
    return _Due(clock, is_sweep or is_poll, is_sweep, is_left, is_changed)


async def _carry_out(room: Room, rules: Rules, due: _Due) -> list[Update]:
    memory = memory_of(room)
    again = [Update(room.id)] if due.is_left else []
    memory.is_left = False
    if not due.is_poll:
        return again
    memory.is_unswept = memory.is_unswept and not due.is_sweep
    try:
        if due.is_changed:
            # Whoever writes by the old rules has to notice before anybody is marked to be looked at again.
            await room.store.new_edition()
            await room.sleep(NOTICED_SECONDS)
        updates = await _work(room, rules, due)
    except StoreError:
        memory.is_left = True  # the next one goes on with all of it
        memory.is_unswept = memory.is_unswept or due.is_sweep
        raise
    return list(dict.fromkeys([*updates, *again]))


async def _work(room: Room, rules: Rules, due: _Due) -> list[Update]:
    """What is due. While Graph cannot be asked whoever is pending is written all the same, and subscriptions kept."""
    left: list[Update] = []
    try:
        changed = await _ask(room, rules, is_sweep=due.is_sweep)
    except (GraphError, SecretMissing) as error:
        await _failed(room, error, is_sweep=due.is_sweep)
        left = [Update(room.id)] if due.is_sweep else []
    else:
        if changed is not None:
            left = await _push(room, changed)
            await _recovered(room, due)
    return [*([Update(room.id, subscriptions=True)] if await is_due(room, rules) else []), *left]


async def _ask(room: Room, rules: Rules, *, is_sweep: bool) -> dict[str, str] | None:
    """Ask Graph about whom it does not announce; in a sweep about all. Answers who has to be written, and when what was
    heard; ``None`` when there was nobody to be asked about."""
    if is_sweep:
        return await _sweep(room, rules)
    known = await _known(room)
    if not known.teams:
        return None
    async with await room.open_graph(rules.settings, rules.health) as graph:
        said = await _said(room, graph, known.teams, "poll")
    news = {key: one for key, one in said.items() if one.teams != known.teams[key]}
    pending: dict[str, str] = {}

    def change(key: str, row: UserPresence | None) -> UserPresence | None:
        after = _heard(row, news[key])
        if after is not None and after.is_pending:  # also what was recorded by a write without an answer
            pending[key] = after.heard_at
        return after

    await room.store.change(news, change)
    known.teams.update((key, one.teams) for key, one in news.items())
    return pending


async def _known(room: Room) -> Known:
    """What users showed the last time who have to be asked about: read anew after a while, and when others do."""
    memory, now = memory_of(room), room.now()
    covered = announced((kept.record for kept in (await room.store.subscriptions()).values()), now)
    known = memory.known
    if known is None or known.announced != covered or not known.at <= now < known.at + REMEMBERED:
        rows = await room.store.all()
        teams = {key: row.teams for key, row in rows.items() if row.is_followed and key not in covered}
        known = memory.known = Known(teams, covered, now)
    return known


async def _sweep(room: Room, rules: Rules) -> dict[str, str]:
    presence = rules.settings.presence
    memory_of(room).known = None
    book = _Book(room, await room.store.all())
    async with await room.open_graph(rules.settings, rules.health) as graph:
        await _enrol(book, room, graph, presence)
        followed = [key for key, row in book.rows.items() if row.is_followed]
        said = await _said(room, graph, followed, "poll")
    await book.change(said, lambda key, row: _heard(row, said[key]))
    strayed = await _strayed(room, rules, book.rows)
    await book.change(followed, lambda key, row: _again(row, presence, is_strayed=key in strayed))
    await _doubt(room, book.rows)
    pending = [row for row in book.rows.values() if row.is_pending and row.is_followed]
    return {row.object_id: row.heard_at for row in pending}


async def _strayed(room: Room, rules: Rules, rows: Mapping[str, UserPresence]) -> set[str]:
    """Whose extensions were made to show something else by hand, where such choices do not count."""
    presence, memory = rules.settings.presence, memory_of(room)
    if presence.respect_manual or not any(row.is_followed for row in rows.values()):
        return set()
    try:
        shown = await list_presence(await memory.pbx(room, rules, room.now()))
    except (PbxError, SecretMissing) as error:
        log.warning("What extensions show cannot be read from the PBX: %s", error)
        return set()
    strayed = {pbx_id for pbx_id, found in shown.items() if not found.custom_presence_status}
    return {
        key
        for key, row in rows.items()
        if row.is_followed and row.pbx_id in strayed and shown[row.pbx_id].status != row.written
    }


class _Book:
    """The records of all users, read once: only those that change are read and written again."""

    def __init__(self, room: Room, rows: dict[str, UserPresence]) -> None:
        self.rows = rows
        self._store = room.store

    async def change(self, keys: Iterable[str], change: Change) -> None:
        """As ``PresenceStore.change``, for whom it makes another record of what was read."""
        news = [key for key in keys if change(key, self.rows.get(key)) not in (None, self.rows.get(key))]
        seen: dict[str, UserPresence | None] = {}

        def noted(key: str, row: UserPresence | None) -> UserPresence | None:
            after = change(key, row)
            seen[key] = row if after is None else after
            return after

        await self._store.change(news, noted)
        self.rows |= {key: row for key, row in seen.items() if row is not None}

    async def remove(self, keys: Iterable[str]) -> None:
        gone = list(keys)
        await self._store.remove(gone)
        for key in gone:
            del self.rows[key]


async def _doubt(room: Room, rows: Mapping[str, UserPresence]) -> None:
    """Have a subscription made anew that does not announce what happens."""
    now = room.now()
    for kept in (await room.store.subscriptions()).values():
        lost = len(lost_by(kept.record, rows, now))
        if kept.record.state == "live" and lost >= MANY_LOST and lost * 10 >= len(kept.record.users):
            log.warning("Graph did not announce %d of %d presences; it is asked anew", lost, len(kept.record.users))
            gone = msgspec.structs.replace(kept.record, state="gone")
            with contextlib.suppress(Changed):
                await room.store.save_subscription(gone, kept.etag)


async def _said(room: Room, graph: Graph, object_ids: Iterable[str], source: Source) -> dict[str, Said]:
    """What Graph says about users."""
    moment = stamp(room.now())  # before it is asked: what is announced meanwhile is newer
    wanted = set(object_ids)
    return {
        one.id.lower(): Said(
            object_id=one.id.lower(),
            teams=Teams(one.availability or "", one.activity or ""),
            sequence=as_text(one.sequence_number),
            at=moment,
            source=source,
        )
        for one in await get_presences(graph, wanted)
        if one.id.lower() in wanted
    }


def _heard(row: UserPresence | None, said: Said) -> UserPresence | None:
    return None if row is None or not row.is_followed else hear(row, said)


async def _enrol(book: _Book, room: Room, graph: Graph, presence: Presence) -> None:
    """Find out who is to be followed, by links, rules and preferences."""
    links = {
        link.object_id.lower(): link
        async for link in room.links.all()
        if link.state == "linked" and link.pbx_id is not None
    }
    members = await _members(graph, presence.group_ids) if presence.users == "groups" else set()
    before = {key for key, row in book.rows.items() if row.is_followed}
    await book.change(links, lambda key, row: _linked(key, row, links, presence, members))
    gone = {key: row for key, row in book.rows.items() if key not in links}
    await book.remove(key for key, row in gone.items() if row.preference.is_default)
    kept = [key for key, row in gone.items() if not row.preference.is_default]
    await book.change(kept, lambda _, row: None if row is None else _unlinked(row))
    followed = {key for key, row in book.rows.items() if row.is_followed}
    if before != followed:
        await room.store.new_edition()
    if followed and not before:
        await wake(room)


async def _members(graph: Graph, group_ids: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for group_id in group_ids:
        try:
            found |= {user_id.lower() async for user_id in graph.transitive_user_ids(group_id)}
        except NotFound:
            continue  # the group is gone, and with it its members
        except ConsentMissing as error:
            raise Stop("the application may not read the members of groups", GROUPS_ACTION, error.code) from None
    return found


def _linked(
    key: str, row: UserPresence | None, links: Mapping[str, Link], presence: Presence, members: Collection[str]
) -> UserPresence:
    link = links[key]
    before = row or UserPresence(object_id=key)
    if before.pbx_id != link.pbx_id:  # another extension, about which nothing is known
        before = msgspec.structs.replace(_unlinked(before), pbx_id=link.pbx_id)
    in_scope = presence.users == "all" or key in members
    is_followed = follows(before.preference, presence, in_scope=in_scope)
    return msgspec.structs.replace(
        before,
        number=link.number,
        name=link.name,
        user_principal_name=link.user_principal_name,
        in_scope=in_scope,
        is_followed=is_followed,
        is_pending=is_followed and before.is_pending,
    )


def _unlinked(row: UserPresence) -> UserPresence:
    """Only what does not belong to the extension."""
    return UserPresence(
        object_id=row.object_id,
        name=row.name,
        user_principal_name=row.user_principal_name,
        preference=row.preference,
        teams=row.teams,
        sequence=row.sequence,
        heard_at=row.heard_at,
        changes=row.changes,
    )


def _again(row: UserPresence | None, presence: Presence, *, is_strayed: bool) -> UserPresence | None:
    """Look again at who is not known to show what Teams asks for: the rules changed, a write failed, or somebody chose
    another status where that does not count."""
    if row is None or row.is_pending or not row.is_followed:
        return None
    target = target_of(row.teams, effective_map(presence.default_map, row.preference.map))
    is_left = row.left == target and presence.respect_manual
    is_shown = target == row.written and not row.sent and not is_strayed
    is_well = target is None or is_shown or is_left
    return None if is_well else msgspec.structs.replace(row, is_pending=True, is_recheck=True)


async def _push(room: Room, changed: Mapping[str, str]) -> list[Update]:
    """Write a few users at once, and leave many, or what does not work now, to a message."""
    if not changed:
        return []
    if len(changed) <= AT_ONCE:
        done = submit(room, changed, changed)
        await asyncio.wait([done], timeout=PUSH_SECONDS)
        if done.done() and done.result():
            return []
    return [Update(room.id)]


async def _failed(room: Room, error: GraphError | SecretMissing, *, is_sweep: bool) -> None:
    """Tell once that Graph cannot be asked; the next poll tries again. What does not pass by itself, or does not pass
    for long, needs an administrator."""
    kept, now = await room.store.clock(), room.now()
    since = kept.clock.failing_since or stamp(now)
    noted = msgspec.structs.replace(
        kept.clock,
        last_error=str(error),
        failing_since=since,
        is_sweep_failing=is_sweep or kept.clock.is_sweep_failing,
        ask_after=_rest(error, now),
    )
    if is_sweep:
        noted = msgspec.structs.replace(noted, swept_at=stamp(now - SWEEP + SWEPT_AGAIN))
    await room.store.set_clock(noted, kept.etag)
    is_long = now - datetime.datetime.fromisoformat(since) >= PATIENCE
    if is_long or not isinstance(error, Retry):
        words = f"Presence cannot be read from Microsoft Graph: {_words(error)}"
        await tell_reason(room, UNREAD, words, _action(error))
    elif not kept.clock.last_error:
        log.warning("Presence cannot be read from Microsoft Graph: %s", error)


def _rest(error: GraphError | SecretMissing, now: datetime.datetime) -> str:
    """Until when Graph asks not to be asked; empty when it does not."""
    pause = getattr(error, "retry_after", None)
    return stamp(now + datetime.timedelta(seconds=min(pause, LONGEST_REST))) if pause else ""


async def _recovered(room: Room, due: _Due) -> None:
    """Tell that it works again: what only sweeps met is over with the next one that goes well."""
    if due.clock.last_error and (due.is_sweep or not due.clock.is_sweep_failing):
        kept = await room.store.clock()
        well = msgspec.structs.replace(kept.clock, last_error="", failing_since="", is_sweep_failing=False)
        await room.store.set_clock(well, kept.etag)
        await room.health.drop_reasons(UNREAD)
        log.info("Presence is read from Microsoft Graph again")


def _words(error: Exception) -> str:
    if isinstance(error, ConsentMissing):
        return "the application lacks the permission Presence.Read.All."
    return f"{str(error).rstrip('.')}."


def _action(error: Exception) -> str:
    if isinstance(error, ConsentMissing):
        return (
            "In the Entra admin center, open the app registration > API permissions, add the application permission "
            "Presence.Read.All of Microsoft Graph, and grant admin consent."
        )
    return getattr(error, "action", "") or "The bridge tries again by itself."


def _digest(presence: Presence) -> str:
    """Changes with every rule by which it is found out who is followed, and what is shown."""
    return hashlib.sha256(msgspec.json.encode(presence)).hexdigest()[:16]


def _is_due(last: str, pause: datetime.timedelta, now: datetime.datetime) -> bool:
    """Whether a pause is over. A moment far ahead is of a clock that was wrong."""
    if not last:
        return True
    age = now - datetime.datetime.fromisoformat(last)
    return age >= pause - EARLY or age < -max(pause, AHEAD)
