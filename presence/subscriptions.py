"""Keeps the subscriptions that announce presence: made in the name of accounts, renewed, made anew.

An account has one, for at most 650 users, and it lives an hour. Whom none announces is polled, so whatever goes wrong
here is noted, tried again, and stops nothing. What happens while one takes another's place is asked about afterwards.
"""

import asyncio
import contextlib
import datetime
import logging
import secrets
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from graph.client import Graph
from graph.errors import (
    BadRequest,
    ConsentMissing,
    CredentialsRejected,
    GraphError,
    NotFound,
    Retry,
    SubscriptionExists,
)
from graph.models import Subscription as Found
from graph.presence import IDS_A_CALL, NewPresenceSubscription, delegated_graph, get_presences, presence_resource
from graph.subscriptions import graph_time
from presence.certificates import Certificate, current_certificate
from presence.hearing import stamp
from presence.room import Room, Rules, Subscriber, memory_of
from store.document import Settings
from store.errors import Changed, StoreError
from store.identity import LOOPBACK
from store.presence import KeptSubscription, PresenceSubscription, UserPresence

log = logging.getLogger("presence")

SCOPES = ("Presence.Read.All",)
LIFETIME = datetime.timedelta(minutes=59)
"""Graph refuses more than 60, and its clock may be a little behind ours."""
LEFT = 0.45
"""So much of what Graph granted is left when it is renewed, of an hour 27 minutes: one of several tries may fail, and
Graph makes no end less than 45 minutes ahead."""
LEAST = datetime.timedelta(minutes=1)
"""What Graph ends sooner is not made again before that."""
BASIC = datetime.timedelta(days=1)
"""So long a subscription without the presence in it is renewed; then one with it is tried again."""
CLAIM = datetime.timedelta(minutes=2)
"""Longer than making a subscription takes, with the handshake: meanwhile nobody else tries."""
PAUSE_MINUTES = (1, 5, 15, 60)
"""After so many failures in a row; the last one repeats."""
LONGEST_PAUSE_SECONDS = 3600.0
"""A longer ``Retry-After`` is not believed."""
LOYALTY = 1.5
"""So many times as often somebody has to change as who is announced already, to take the place."""
FEW_SWAPS = 32
"""So few better choices are not worth another subscription: those who would give way are still announced."""
PATH = "communications/presences"
END_SECONDS = 10.0
"""So long it is tried to end a subscription: somebody waits for it, and it ends by itself."""

type Step = Literal["create", "renew"]
type Kept = Mapping[str, KeptSubscription]
"""The records by account."""


def unreachable(base_url: str) -> bool:
    """Whether Graph has nowhere to send notifications: presence is polled then. Plain http is for loopback only."""
    try:
        parts = urlsplit(base_url)
    except ValueError:
        return True
    return not parts.hostname or (parts.scheme != "https" and parts.hostname not in LOOPBACK)


def step(
    record: PresenceSubscription | None, subscriber: Subscriber, application: str, url: str, now: datetime.datetime
) -> Step | None:
    """What to do now; ``None`` when all is well, or when it is too early to try again. Pure."""
    if record is None or record.mark.partition("|")[0] != subscriber.person:
        return "create"
    is_news = record.mark != subscriber.mark
    if record.next_try_at and now < datetime.datetime.fromisoformat(record.next_try_at) and not is_news:
        return None
    is_ours = (record.application, record.notification_url) == (application, url)
    if not is_ours or record.state in {"asked", "gone"} or not record.id:
        return "create"
    ends = datetime.datetime.fromisoformat(record.expires_at)
    if ends <= now:
        return "create"
    return "renew" if is_news or record.state == "renew" or _renew_at(record, ends) <= now else None


def _renew_at(record: PresenceSubscription, ends: datetime.datetime) -> datetime.datetime:
    made = datetime.datetime.fromisoformat(record.made_at) if record.made_at else ends - LIFETIME
    return ends - (ends - made) * LEFT


def choose(
    rows: Mapping[str, UserPresence], announced: Mapping[str, Collection[str]], accounts: Sequence[str]
) -> dict[str, list[str]]:
    """Whom to subscribe to in the name of each account: all who are followed or, of more than 650 for each, those who
    change most. Who is ``announced`` in the name of an account stays with it. Pure."""
    known = {user for users in announced.values() for user in users}

    def weight(row: UserPresence) -> tuple[float, str]:
        return -(row.changes + 1) * (LOYALTY if row.object_id in known else 1), row.object_id

    followed = sorted((row for row in rows.values() if row.is_followed), key=weight)
    chosen = [row.object_id for row in followed[: IDS_A_CALL * len(accounts)]]
    places = _staying(chosen, announced, accounts)
    taken = {user for users in places.values() for user in users}
    others = iter([user for user in chosen if user not in taken])
    for users in places.values():
        users.extend(islice(others, IDS_A_CALL - len(users)))
    return {account: sorted(users) for account, users in places.items()}


def _staying(
    chosen: Sequence[str], announced: Mapping[str, Collection[str]], accounts: Sequence[str]
) -> dict[str, list[str]]:
    places: dict[str, list[str]] = {account: [] for account in accounts}
    left = set(chosen)
    for account in accounts:
        places[account] = [user for user in announced.get(account, ()) if user in left][:IDS_A_CALL]
        left.difference_update(places[account])
    return places


def is_better(before: Sequence[str], users: Sequence[str], rows: Mapping[str, UserPresence]) -> bool:
    """Whether other users are worth another subscription: somebody in it is not followed any more, there is room for
    somebody else, or many others change more often. Pure."""
    if any(user not in rows or not rows[user].is_followed for user in before):
        return True
    new = len(set(users).difference(before))
    return new > FEW_SWAPS or (new > 0 and len(before) < IDS_A_CALL)


async def is_due(room: Room, rules: Rules) -> bool:
    """Whether something has to be done: two or three requests to storage."""
    return bool(await _due(room, rules, await room.store.subscriptions()))


async def ensure(room: Room, rules: Rules) -> list[str]:
    """Make or renew the subscriptions that are due. A failure is noted on the record, with the time of the next try;
    only storage itself can fail this. Answers about whom Graph has to be asked, because nothing announced them for a
    moment."""
    kept = await room.store.subscriptions()
    await _forget(room, kept)
    unannounced: list[str] = []
    for subscriber in await _due(room, rules, kept):
        keeper = _Keeper(room, rules, subscriber, await room.store.subscriptions())
        try:
            unannounced += await keeper.keep()
        except Changed:
            continue  # somebody else is at it
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is becomes the record's reason
            await _failed(room, rules, subscriber, error)
    return unannounced


async def wake(room: Room) -> None:
    """Have those made at once that were not, because nobody was followed."""
    for kept in (await room.store.subscriptions()).values():
        if kept.record.next_try_at and not (kept.record.id or kept.record.users or kept.record.failures):
            with contextlib.suppress(Changed):
                awake = msgspec.structs.replace(kept.record, next_try_at="")
                await room.store.save_subscription(awake, kept.etag)


async def end_all(room: Room) -> list[str]:
    """End all subscriptions, because presence is not wanted any more. Answers what could not be ended, for people: it
    ends by itself within the hour."""
    records = [kept.record for kept in (await room.store.subscriptions()).values()]
    ends = await asyncio.gather(*(_end(room, record) for record in records), return_exceptions=True)
    if faults := [one for one in ends if isinstance(one, BaseException)]:
        raise faults[0]  # storage failed, after all others were ended
    return [one for one in ends if isinstance(one, str) and one]


async def end(room: Room, account: str) -> str:
    """End the subscription of one account, while it can still be used. Answers why it could not be ended, as
    ``end_all`` does; empty when it was, or there was none."""
    kept = (await room.store.subscriptions()).get(account)
    return "" if kept is None else await _end(room, kept.record)


async def _end(room: Room, record: PresenceSubscription) -> str:
    trouble = ""
    if record.id and record.expires_at > stamp(room.now()):
        try:
            async with asyncio.timeout(END_SECONDS):
                await _delete(room, record)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - nothing may keep presence from being switched off
            trouble = f"The subscription to presence ends by itself within the hour: {_words(error)}"
    await room.store.remove_subscription(record.account)
    return trouble


async def _delete(room: Room, record: PresenceSubscription) -> None:
    """End it with the token that is at hand, or with a new one where Graph does not take that any more."""
    try:
        await _delete_with(room, record, await room.delegated_token(record.account, SCOPES))
    except CredentialsRejected:
        await _delete_with(room, record, await room.delegated_token(record.account, SCOPES, fresh=True))


async def _delete_with(room: Room, record: PresenceSubscription, token: str) -> None:
    async with delegated_graph(room.environment.graph_base_url, token) as graph:
        await graph.delete_subscription(record.id)


async def _due(room: Room, rules: Rules, kept: Kept) -> list[Subscriber]:
    if not rules.are_on or unreachable(room.environment.public_base_url):
        return []
    application, url, now = _application(rules.settings), _url(room), room.now()
    records = {account: one.record for account, one in kept.items()}
    return [
        one
        for one in await room.subscribers()
        if step(records.get(one.account), one, application, url, now) is not None
    ]


async def _forget(room: Room, kept: Kept) -> None:
    """Forget the subscriptions of accounts that were taken away: nobody can renew them."""
    accounts = {one.account for one in await room.subscribers()}
    for account in kept.keys() - accounts:
        await room.store.remove_subscription(account)


class _Keeper:
    """Carries out what is due for one account."""

    def __init__(self, room: Room, rules: Rules, subscriber: Subscriber, kept: Kept) -> None:
        self._room = room
        self._application = _application(rules.settings)
        self._client_id = rules.settings.microsoft.client_id
        self._subscriber = subscriber
        self._all = kept
        self._kept = kept.get(subscriber.account, KeptSubscription(PresenceSubscription(account=subscriber.account)))
        self._now = room.now()

    async def keep(self) -> list[str]:
        """Do it; answers who was not announced for a moment. ``Changed`` when somebody else works on it."""
        before = self._kept.record
        verb = step(
            before if self._kept.etag else None, self._subscriber, self._application, _url(self._room), self._now
        )
        rows = await self._room.store.all()
        users = self._choice(rows)
        claimed = msgspec.structs.replace(before, next_try_at=stamp(self._now + CLAIM))
        if not users and not before.id:
            claimed = msgspec.structs.replace(claimed, mark=self._subscriber.mark)
        self._kept = await self._room.store.save_subscription(claimed, self._kept.etag)
        if not users and not before.id:
            return []  # nobody to be told about
        token = await self._room.delegated_token(self._subscriber.account, SCOPES, fresh=True)
        async with delegated_graph(self._room.environment.graph_base_url, token) as graph:
            if not users:
                await self._end(graph, before)
                await self._gone()
                return []
            certificate = await current_certificate(self._room.secrets, self._now)
            is_same = certificate.id == before.certificate_id or _is_basic(before, self._now)
            known = [user for user in users if user not in before.strangers]
            is_kept = verb == "renew" and is_same and not is_better(before.users, known, rows)
            if is_kept and await self._renew(graph):
                return []
            await self._create(graph, users, certificate)
        return self._kept.record.users

    def _choice(self, rows: Mapping[str, UserPresence]) -> list[str]:
        """Whom this account announces: accounts that do not work leave their users to the others."""
        account, now = self._subscriber.account, stamp(self._now)
        records = {key: kept.record for key, kept in self._all.items()}
        at_work = [key for key, record in records.items() if record.covers(now) and key != account]
        announced = {key: record.users for key, record in records.items()}
        # In one order for all of them: each would leave somebody new to the others otherwise.
        return choose(rows, announced, sorted([*at_work, account]))[account]

    async def _gone(self) -> None:
        gone = msgspec.structs.replace(self._kept.record, state="gone", id="", users=[], mark=self._subscriber.mark)
        self._kept = await self._room.store.save_subscription(gone, self._kept.etag)

    async def _renew(self, graph: Graph) -> bool:
        """``False`` when it is gone, is another account's, or is refused for whatever reason: it is made anew then."""
        record = self._kept.record
        try:
            found = await graph.renew_subscription(record.id, self._now + LIFETIME)
        except (NotFound, ConsentMissing, BadRequest):
            return False
        await self._live(record, found)
        return True

    async def _create(self, graph: Graph, users: Sequence[str], certificate: Certificate) -> None:
        """Make it. The record comes first, so that notifications are believed from the first one on."""
        before = self._kept.record
        await self._end(graph, before)
        asked = PresenceSubscription(
            account=self._subscriber.account,
            mark=self._subscriber.mark,
            state="asked",
            client_state=secrets.token_urlsafe(32),
            tenant_id=self._subscriber.tenant_id.lower(),
            application=self._application,
            notification_url=_url(self._room),
            users=list(users),
            certificate_id=certificate.id,
            earlier_certificate_id=_earlier(before, certificate),
            expires_at=stamp(self._now + LIFETIME),
            since=stamp(self._now),
            last_error=before.last_error,
            failures=before.failures,
            next_try_at=stamp(self._now + CLAIM),
        )
        await self._save(asked)
        try:
            asked, found = await self._subscribe(graph, asked, certificate)
        except GraphError as error:
            if not isinstance(error, Retry):  # refused: surely not made
                gone = msgspec.structs.replace(asked, state="gone")
                await self._save(gone)
            raise
        await self._live(asked, found)

    async def _subscribe(
        self, graph: Graph, asked: PresenceSubscription, certificate: Certificate
    ) -> tuple[PresenceSubscription, Found]:
        """For all of them; for those that Graph knows where it refuses others."""
        try:
            return await self._offer(graph, asked, certificate)
        except (BadRequest, NotFound):
            known = await _known(graph, asked.users)
            if not known or len(known) == len(asked.users):
                raise  # nobody is left out, so it is about something else
            log.info("%d users are not announced: Microsoft Graph does not know them", len(asked.users) - len(known))
            strangers = [user for user in asked.users if user not in known]
            some = msgspec.structs.replace(asked, users=known, strangers=strangers)
        return await self._offer(graph, some, certificate)

    async def _offer(
        self, graph: Graph, asked: PresenceSubscription, certificate: Certificate
    ) -> tuple[PresenceSubscription, Found]:
        """With the presence in the notifications; without it where Graph does not take the certificate."""
        try:
            return asked, await self._post(graph, _new(asked, certificate))
        except BadRequest as error:
            log.warning("Microsoft Graph announces presence without the presence itself: %s", error)
            basic = msgspec.structs.replace(asked, certificate_id="")
            return basic, await self._post(graph, _new(basic, None))

    async def _post(self, graph: Graph, new: NewPresenceSubscription) -> Found:
        try:
            return await graph.subscribe(new)
        except SubscriptionExists:
            # Of an earlier life of this deployment, or of a request whose answer got lost.
            await self._clear(graph)
        return await graph.subscribe(new)

    async def _clear(self, graph: Graph) -> None:
        for found in await graph.subscriptions():
            if PATH not in found.resource.casefold() or not self._is_own(found):
                continue
            if found.notification_url != _url(self._room):
                host = urlsplit(found.notification_url).netloc or "another address"
                raise SubscriptionExists(
                    f"another deployment at {host} is told about presence as the same application and account"
                )
            await graph.delete_subscription(found.id)

    def _is_own(self, found: Found) -> bool:
        """Whether it may be in our way: administrators may be shown those of other people and applications."""
        owners = ((found.application_id, self._client_id), (found.creator_id, self._subscriber.person))
        return all(not said or said.casefold() == own.casefold() for said, own in owners)

    async def _end(self, graph: Graph, record: PresenceSubscription) -> None:
        """End an earlier one. Another person's cannot be reached, and ends by itself within the hour; of one that Graph
        does not let go, the next one's refusal tells."""
        is_own = record.mark.partition("|")[0] == self._subscriber.person
        is_there = bool(record.id) and record.expires_at > stamp(self._now)
        if is_there and is_own and record.application == self._application:
            with contextlib.suppress(ConsentMissing, BadRequest):
                await graph.delete_subscription(record.id)

    async def _live(self, record: PresenceSubscription, found: Found) -> None:
        if record.failures:
            log.info("Presence is announced again")
        ends = _end_of(found) or stamp(self._now + LIFETIME)
        soonest = stamp(self._now + LEAST)
        live = msgspec.structs.replace(
            record,
            state="live",
            mark=self._subscriber.mark,
            id=found.id,
            expires_at=ends,
            made_at=stamp(self._now),
            last_error="",
            failures=0,
            next_try_at=soonest if ends < soonest else "",
        )
        await self._save(live)

    async def _save(self, record: PresenceSubscription) -> None:
        """Record it; what this process takes from Graph from now on is compared with it."""
        self._kept = await self._room.store.save_subscription(record, self._kept.etag)
        memory_of(self._room).records_at = None


def _new(record: PresenceSubscription, certificate: Certificate | None) -> NewPresenceSubscription:
    return NewPresenceSubscription(
        resource=presence_resource(record.users),
        change_type="updated",
        notification_url=record.notification_url,
        # It may be the same, and is sent nothing that the other would not be.
        lifecycle_notification_url=record.notification_url,
        expiration_date_time=graph_time(datetime.datetime.fromisoformat(record.expires_at)),
        client_state=record.client_state,
        include_resource_data=None if certificate is None else True,
        encryption_certificate=None if certificate is None else certificate.text,
        encryption_certificate_id=None if certificate is None else certificate.id,
    )


def _is_basic(record: PresenceSubscription, now: datetime.datetime) -> bool:
    """Whether Graph did not take the certificate lately: now and then it is offered again."""
    made = datetime.datetime.fromisoformat(record.since) if record.since else now
    return not record.certificate_id and now - made < BASIC


async def _known(graph: Graph, users: Sequence[str]) -> list[str]:
    """Those of them that Graph knows; all, when it cannot be asked."""
    try:
        known = {one.id.lower() for one in await get_presences(graph, users)}
    except GraphError:
        return list(users)
    return [user for user in users if user in known]


def _earlier(before: PresenceSubscription, certificate: Certificate) -> str:
    changed = before.certificate_id and before.certificate_id != certificate.id
    return before.certificate_id if changed else before.earlier_certificate_id


def _application(settings: Settings) -> str:
    return f"{settings.microsoft.tenant_id}|{settings.microsoft.client_id}".lower()


def _url(room: Room) -> str:
    return f"{room.environment.public_base_url}/notifications/presence"


def _end_of(found: Found) -> str:
    """When it ends, in our own spelling; empty when Graph does not say it."""
    try:
        return stamp(datetime.datetime.fromisoformat(found.expiration_date_time))
    except ValueError:
        return ""


async def _failed(room: Room, rules: Rules, subscriber: Subscriber, error: Exception) -> None:
    """Note why, and when to try again. Told to the log once, until it works again."""
    kept = (await room.store.subscriptions()).get(subscriber.account)
    record = PresenceSubscription(account=subscriber.account) if kept is None else kept.record
    failures = record.failures + 1 if record.mark == subscriber.mark else 1
    pause = datetime.timedelta(minutes=PAUSE_MINUTES[min(failures, len(PAUSE_MINUTES)) - 1])
    wish = min(getattr(error, "retry_after", None) or 0.0, LONGEST_PAUSE_SECONDS)
    words = _words(error)
    if not record.failures:
        log.warning("Presence is polled, because changes of it are not announced: %s", words)
    noted = msgspec.structs.replace(
        record,
        mark=subscriber.mark,
        application=record.application or _application(rules.settings),
        failures=failures,
        last_error=words,
        next_try_at=stamp(room.now() + max(pause, datetime.timedelta(seconds=wish))),
    )
    if record.mark.partition("|")[0] != subscriber.person:  # of another person, who is told for us no more
        noted = msgspec.structs.replace(noted, state="gone", id="", users=[])
    try:
        await room.store.save_subscription(noted, "" if kept is None else kept.etag)
    except Changed:
        return  # somebody else had more luck


def _words(error: Exception) -> str:
    if isinstance(error, ConsentMissing):
        return (
            "The authorization account may not be told about presence. In the Entra admin center, open the app "
            "registration > API permissions, add the delegated permission Presence.Read.All, grant admin consent, and "
            "sign in again."
        )
    if isinstance(error, TimeoutError):
        return "Microsoft did not answer in time."
    text = f"{str(error)[:1].upper()}{str(error)[1:]}".rstrip(".")
    return f"{text}. {getattr(error, 'action', '')}".strip()
