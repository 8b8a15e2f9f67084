"""Presence of one connection in one process or several, on a clock that tests move and that sleeping moves too."""

import base64
import datetime
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from local.emulator import Clock, Fault
from local.microsoft.presence_forgeries import Flaw, TokenShape, ValidationTokens
from local.microsoft.presence_sealing import seal
from local.sample import CLIENT_ID, TENANT_ID
from presence.hearing import Said, hear, stamp
from presence.intake import receive
from presence.messages import Answer, Update
from presence.poll import carry_out, poll
from presence.room import Room, Rules, Subscriber, close, memory_of, room_of
from presence.subscriptions import SCOPES, ensure
from presence.trust import STORED_AS
from store.document import Settings
from store.presence import PresenceSubscription, Teams, UserPresence
from store.sessions import AUTHORIZATION
from store.tables import Tables, open_tables
from tests.engine.world import START, World


def _certificate() -> tuple[str, str]:
    """A certificate as Graph is given it, and its private key as PEM."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "presence")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, START, START + datetime.timedelta(days=90))
    der = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return base64.b64encode(der).decode(), pem.decode()


CERTIFICATE, KEY_PEM = _certificate()


class _Clock(Clock):
    """The clock of a world, for what makes tokens."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def time(self) -> float:
        return self._world.now.timestamp()


class NobodyError(Exception):
    """Nobody has signed in."""

    action = "Sign in on the page Connect."


class Desk:
    """A world with presence switched on. ``room`` is the first process; ``process`` makes another."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.slept: list[float] = []
        self.answers: list[Answer] = []
        self.tokens: list[tuple[str, ...]] = []
        self.fresh: list[bool] = []
        """Which of those had to be new."""
        self.environment = world.environment
        self.account = ""
        """Object id of the authorization account; while it is empty nobody has signed in."""
        self.signed_in_at = ""
        self.further: list[str] = []
        """Object ids of further accounts."""
        self.scopes = list(SCOPES)
        self.unannounced: list[str] = []
        """Whom Graph has to be asked about after the last ``ensure``."""
        self._issued: dict[str, str] = {}
        """Tokens by person, which are given again where a new one is not asked for."""
        self._runner: web.ServerRunner | None = None
        self._others: list[Tables] = []
        self._rooms: list[Room] = []
        self.room = self._room(world.connection.tables)

    def process(self) -> Room:
        """Another process of the deployment, with a memory of its own."""
        tables = open_tables(self.world.environment)
        self._others.append(tables)
        return self._room(tables)

    async def open(self) -> None:
        await self.world.secrets()
        await self.rules()

    async def rules(self, writes: float = 1000, **presence: Any) -> None:
        """Change the rules; processes notice it at once."""
        base = await self.world.connection.settings.load()
        document = msgspec.to_builtins(base.settings)
        document["pbx"]["max_writes_per_second"] = writes
        document["presence"] |= {"enabled": True, **presence}
        await self.world.connection.settings.save(msgspec.convert(document, Settings), base)
        for room in self._rooms:
            memory_of(room)._rules = None

    async def staff(self, number: int) -> list[str]:
        """So many users with extensions from 1000 on, all of them followed."""
        ids = await self.world.staff(number)
        links = {link.object_id: link for link in await self.world.links()}

        def follow(key: str, row: UserPresence | None) -> UserPresence:
            link = links[key]
            return UserPresence(
                object_id=key, pbx_id=link.pbx_id, number=link.number, name=link.name, in_scope=True, is_followed=True
            )

        await self.room.store.change(ids, follow)
        return ids

    def teams(self, object_id: str, name: str) -> None:
        """Somebody shows ``name`` in Teams."""
        self.world.microsoft.presences.change(object_id, {"availability": name, "activity": name})

    def asked(self) -> list[list[str]]:
        """The object ids of each question about presence that Graph was asked."""
        asked = [one for one in self.world.microsoft.requests if one.path.endswith("getPresencesByUserId")]
        return [msgspec.json.decode(one.body)["ids"] for one in asked]

    async def poll(self, room: Room | None = None) -> list[Update]:
        """The timer, with the messages that it makes carried out."""
        updates = await poll(room or self.room)
        for update in updates:
            await carry_out(room or self.room, update)
        return updates

    async def hear(self, object_id: str, name: str, sequence: int | str = "") -> None:
        """Record that a user shows ``name`` in Teams, as a notification does."""
        said = Said(object_id=object_id, teams=Teams(name, name), sequence=str(sequence), at=stamp(self.world.tell()))
        await self.room.store.change([object_id], lambda _key, row: None if row is None else hear(row, said))

    async def record(self, object_id: str) -> UserPresence:
        return (await self.room.store.some([object_id]))[object_id]

    async def subscribe(self, users: Sequence[str], **changes: Any) -> PresenceSubscription:
        """As after a subscription was made: its record, and a certificate in the Key Vault."""
        stored = await self.world.connection.secrets.write(STORED_AS, KEY_PEM)
        record = PresenceSubscription(
            account="aaaa0001-0000-4000-8000-000000000001",
            state="live",
            id="a-subscription",
            client_state="c" * 43,
            tenant_id=TENANT_ID,
            users=list(users),
            certificate_id=stored.version,
            expires_at=stamp(self.world.now + datetime.timedelta(minutes=60)),
        )
        record = msgspec.structs.replace(record, **changes)
        await self.room.store.save_subscription(record)
        return record

    async def load_keys(self, record: PresenceSubscription) -> None:
        """As in a process that took notifications before."""
        for room in self._rooms:
            await memory_of(room).trust.load(room.secrets, record.certificate_id)

    def rich(self, record: PresenceSubscription, object_id: str, name: str, sequence: str = "") -> dict[str, Any]:
        """A notification with the presence in it."""
        content = {"id": object_id, "availability": name, "activity": name}
        if sequence:
            content["sequenceNumber"] = sequence
        return {**self.basic(record, object_id), "encryptedContent": seal(content, CERTIFICATE, record.certificate_id)}

    def basic(self, record: PresenceSubscription, object_id: str) -> dict[str, Any]:
        """A notification that somebody's presence changed."""
        return {
            "subscriptionId": record.id,
            "clientState": record.client_state,
            "tenantId": TENANT_ID,
            "changeType": "updated",
            "resource": f"communications/presences/{object_id}",
            "resourceData": {"id": object_id},
        }

    def token(self, shape: TokenShape = "v2", flaw: Flaw | None = None) -> str:
        """A validation token, perhaps a forged one."""
        microsoft = self.world.microsoft
        maker = ValidationTokens(_Clock(self.world), microsoft.keys, TENANT_ID, lambda: microsoft.url)
        return maker.make(CLIENT_ID, shape, 3600, flaw)

    async def post(
        self, items: Sequence[dict[str, Any]], tokens: Sequence[str] = (), room: Room | None = None
    ) -> Answer:
        """Have a process take notifications."""
        body = msgspec.json.encode({"value": items, "validationTokens": list(tokens)})
        return await receive(room or self.room, {}, body)

    def shown(self) -> dict[str, str]:
        """What the extensions show, by number."""
        return {extension.number: extension.presence_status for extension in self.world.pbx.machine.directory}

    def choose(self, number: str, status: str, custom: str = "") -> None:
        """Somebody chooses a status on the phone."""
        self.world.edit_extension(number, presence_status=status, custom_presence_status=custom)

    def written(self) -> list[tuple[int, str]]:
        """The ids and statuses that were written to the PBX, in order."""
        bodies = [
            msgspec.json.decode(request.body)
            for request in self.world.pbx.requests
            if request.path.endswith("/extension/update")
        ]
        return [(body["id"], body["presence_status"]) for body in bodies]

    def fault(self, kind: str, path: str, **members: Any) -> Fault:
        return Fault(kind=kind, path=path, **members)

    def later(self, **delta: float) -> None:
        self.world.now += datetime.timedelta(**delta)

    async def serve(self) -> None:
        """Let Graph reach the first process. From now on the clock is Graph's own."""
        self._runner = web.ServerRunner(web.Server(self._take), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.move_to(f"http://127.0.0.1:{self._runner.addresses[0][1]}")
        self.world.now = self.world.microsoft.clock.now()

    def move_to(self, base_url: str) -> None:
        """Deploy it under another address."""
        self.environment = msgspec.structs.replace(self.environment, public_base_url=base_url)
        self.room = self._room(self.world.connection.tables)

    def pass_time(self, **delta: float) -> None:
        """Move the clocks of the bridge and of Graph."""
        step = datetime.timedelta(**delta)
        self.world.now += step
        self.world.microsoft.clock.offset += step.total_seconds()

    async def ensure(self, room: Room | None = None) -> PresenceSubscription | None:
        """What the queue does when subscriptions are due; answers the record."""
        room = room or self.room
        rules = Rules((await room.settings.load()).settings, await room.health.load())
        self.unannounced = await ensure(room, rules)
        return await self.subscription()

    async def subscription(self, account: str = AUTHORIZATION) -> PresenceSubscription | None:
        """The record of an account's subscription."""
        kept = (await self.room.store.subscriptions()).get(account)
        return None if kept is None else kept.record

    async def _take(self, request: web.BaseRequest) -> web.Response:
        answer = await receive(self.room, dict(request.query), await request.read())
        self.answers.append(answer)
        return web.Response(status=answer.status, text=answer.text)

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        for room in self._rooms:
            await close(room)
        for tables in self._others:
            await tables.close()

    def _room(self, tables: Tables) -> Room:
        connection = self.world.connection

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.later(seconds=seconds)

        async def subscribers() -> list[Subscriber]:
            first = Subscriber(AUTHORIZATION, self.account, self.signed_in_at if self.account else "", TENANT_ID)
            return [first, *(Subscriber(one, one, START.isoformat(), TENANT_ID) for one in self.further)]

        async def token(account: str, scopes: Sequence[str], /, *, fresh: bool = False) -> str:
            self.tokens.append(tuple(scopes))
            self.fresh.append(fresh)
            person = self.account if account == AUTHORIZATION else account
            if not person:
                raise NobodyError("no account has signed in for this connection")
            if fresh or person not in self._issued:
                app = self.world.microsoft.authority.apps[CLIENT_ID]
                self._issued[person] = self.world.microsoft.tokens.for_user(app, person, self.scopes, 3600)
            return self._issued[person]

        room = room_of(connection, self.world.tell, subscribers, token)
        room = msgspec.structs.replace(room, environment=self.environment, tables=tables, sleep=sleep)
        self._rooms.append(room)
        return room
