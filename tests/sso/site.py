"""A deployment that people sign in to, in one process or several, with a clock that tests move."""

import datetime
from typing import Any

from local.azurite import Azurite
from local.microsoft import MicrosoftEmulator
from local.microsoft.apps import App
from local.sample import CLIENT_ID, IDENTITY_CLIENT_ID, TENANT_ID, user_id
from sso import account, sessions, signin
from sso.failures import Failed
from sso.place import Place
from sso.signin import Begun, Completed, Purpose
from store.document import Settings
from store.environment import Environment, StorageAccount
from store.health import HealthStore
from store.secrets import SecretStore
from store.sessions import AUTHORIZATION
from store.settings import SettingsStore
from store.tables import Tables, open_tables
from tests.microsoft.browser import Browser, Page
from tests.microsoft.support import Client

BASE = "http://localhost:7071"
KEY = "a-setup-key-of-some-length"
NOOR, IMRE, SEAN, MARA = (user_id(number) for number in (1, 2, 3, 4))
NOOR_ACCOUNT = f"{TENANT_ID}:{NOOR}"
LOOPBACK = "127.0.0.1"


class Site:
    """One connection, as one process after another sees it."""

    def __init__(self, azurite: Azurite, client: Client, connection: str) -> None:
        self.client = client
        self.microsoft: MicrosoftEmulator = client.emulator
        self.now = datetime.datetime.now(datetime.UTC)
        self.connection = connection
        self._storage = StorageAccount(azurite.connection_string)
        self._opened: list[tuple[Tables, SecretStore]] = []
        self.place = self.process()

    def process(self, **environment: Any) -> Place:
        """What another process of the deployment has: its own connections, its own memory."""
        usual = Environment(
            storage=self._storage,
            key_vault_url=self.microsoft.url,
            has_identity=True,
            identity_client_id=IDENTITY_CLIENT_ID,
            public_base_url=BASE,
            entra_authority=self.microsoft.url,
            tenant_id=TENANT_ID,
            client_id=CLIENT_ID,
            setup_key=KEY,
        )
        own = Environment(**{**{name: getattr(usual, name) for name in usual.__struct_fields__}, **environment})
        tables, secrets = open_tables(own), SecretStore(own, self.connection)
        self._opened.append((tables, secrets))
        return Place(
            id=self.connection,
            environment=own,
            tables=tables,
            secrets=secrets,
            settings=SettingsStore(tables, self.connection, own),
            health=HealthStore(tables, self.connection),
        )

    async def close(self) -> None:
        for tables, secrets in self._opened:
            await tables.close()
            await secrets.close()

    def later(self, **delta: float) -> None:
        """Move the clocks of the bridge and of Entra."""
        step = datetime.timedelta(**delta)
        self.now += step
        self.microsoft.clock.offset += step.total_seconds()

    @property
    def app(self) -> App:
        return self.microsoft.authority.apps[CLIENT_ID]

    async def settings(self, **sections: Any) -> None:
        """Replace members of sections of the settings."""
        import msgspec

        base = await self.place.settings.load()
        document = msgspec.to_builtins(base.settings)
        for name, members in sections.items():
            document[name] |= members
        await self.place.settings.save(msgspec.convert(document, Settings), base)

    # Entra

    async def assign(self, person: str, role: str | None) -> None:
        answer = await self.client.control("POST", "assignments", {"principal": person, "role": role})
        assert answer.status == 201, answer.text

    async def entra(self, **switches: Any) -> None:
        answer = await self.client.control("PUT", "sign-in", switches)
        assert answer.status == 200, answer.text

    async def visit(self, url: str, person: str, **switches: Any) -> Page:
        """Where Entra sends the browser of a person who agrees to everything."""
        await self.entra(**{"automatic_user": person, "automatic_consent": "accept", **switches})
        return await Browser(self.client).open(url)

    # Signing in

    async def begin(self, purpose: Purpose = "console", session: str = "", to: str = "/console/runs") -> Begun:
        return await signin.begin(self.place, purpose, session, to, self.now)

    async def answered(self, begun: Begun, person: str = NOOR, **switches: Any) -> dict[str, str]:
        """The form that Entra's page posts."""
        return (await self.visit(begun.url, person, **switches)).returned()

    async def complete(self, begun: Begun, form: dict[str, str], place: Place | None = None) -> Completed | Failed:
        return await signin.complete(place or self.place, form, {signin.STATE_COOKIE: begun.cookie}, self.now)

    async def sign_in(self, person: str = NOOR, **switches: Any) -> Completed | Failed:
        """A whole sign-in to the console."""
        begun = await self.begin()
        return await self.complete(begun, await self.answered(begun, person, **switches))

    async def signed_in(self, person: str = NOOR, **switches: Any) -> Completed:
        done = await self.sign_in(person, **switches)
        assert isinstance(done, Completed), done
        return done

    async def first_session(self) -> sessions.Session:
        """An administrator's session by the setup key."""
        session, _ = await sessions.start_session(self.place, "Setup key", sessions.SETUP_KEY, "admin", self.now)
        return session

    async def connect(self, person: str = NOOR, **switches: Any) -> Completed:
        """Make somebody the authorization account."""
        begun = await self.begin("connect", (await self.first_session()).id, "/connect")
        done = await self.complete(begun, await self.answered(begun, person, **switches))
        assert isinstance(done, Completed), done
        return done

    async def add(self, person: str = SEAN, **switches: Any) -> Completed | Failed:
        """Have an administrator add somebody as a further account, who may consent to everything."""
        begun = await self.begin("presence", (await self.first_session()).id, "/connect")
        form = await self.answered(begun, person, **{"administrators": [person], **switches})
        return await self.complete(begun, form)

    async def added(self, person: str = SEAN) -> account.Account:
        done = await self.add(person)
        assert isinstance(done, Completed), done
        assert done.account is not None
        return done.account

    async def open(self, cookie: str, place: Place | None = None) -> sessions.Session | None:
        return await sessions.open_session(place or self.place, {sessions.COOKIE: cookie}, self.now)

    async def token(self, place: Place | None = None, key: str = AUTHORIZATION) -> str:
        """An access token of an account; without a key of the authorization account."""
        return await account.access_token(place or self.place, ["User.Read"], self.now, key)

    def token_requests(self) -> list[str]:
        """The bodies of what was sent to the token endpoint for a person."""
        bodies = [item.body for item in self.microsoft.requests if item.path.endswith("/oauth2/v2.0/token")]
        return [body for body in bodies if "grant_type=client_credentials" not in body]


def reason_codes(health: Any) -> list[str]:
    return [reason.code for reason in health.reasons]
