"""Presence behind the console: people with extensions, what they show in Teams, and the timer that asks for it."""

import datetime
from typing import Any

import msgspec

from console.rooms import presence_room
from presence.hearing import stamp
from presence.poll import carry_out, poll
from presence.room import Room, close
from store.presence import PresenceSubscription, UserPresence
from store.sessions import AUTHORIZATION, AccountRecord, SessionStore
from tests.console.page import Page
from tests.console.rules import stored
from tests.console.site import Site


class Office:
    """A site with presence switched on."""

    def __init__(self, site: Site) -> None:
        self.site = site

    @property
    def room(self) -> Room:
        return presence_room(self.site.connection, self.site.world.tell)

    async def open(self, *names: str, **rules: Any) -> list[str]:
        """People of these names with extensions from 1000 on, all as Teams has them; answers their object ids."""
        world = self.site.world
        ids = [world.person(name) for name in names]
        await world.secrets()
        [message] = await world.enable()
        run = await world.execute(message)
        assert run.status == "succeeded", run
        await self.switch_on(**rules)
        return ids

    async def switch_on(self, **rules: Any) -> None:
        await stored(self.site, "presence", **{"enabled": True, **rules})
        await self.poll()

    async def poll(self) -> None:
        """What the timer does, and the messages that it makes; a while after what was before."""
        self.site.passes(seconds=60)
        for update in await poll(self.room):
            await carry_out(self.room, update)

    async def teams(self, object_id: str, name: str) -> None:
        """Somebody shows this in Teams, and the bridge hears of it."""
        self.site.world.microsoft.presences.change(object_id, {"availability": name, "activity": name})
        await self.poll()

    async def announce(self, *object_ids: str, **members: Any) -> None:
        """As if Graph announced the changes of these users."""
        usual: dict[str, Any] = {
            "account": AUTHORIZATION,
            "state": "live",
            "id": "a-subscription",
            "client_state": "c" * 43,
            "users": list(object_ids),
            "certificate_id": "1",
            "expires_at": stamp(self.site.world.now + datetime.timedelta(minutes=60)),
        }
        kept = (await self.room.store.subscriptions()).get((usual | members)["account"])
        await self.room.store.save_subscription(PresenceSubscription(**(usual | members)), kept.etag if kept else "")

    async def signed_in(self, *scopes: str, further: str = "", **members: Any) -> None:
        """As if somebody had signed in for the bridge, and was given these permissions."""
        usual: dict[str, Any] = {
            "tenant_id": "",
            "object_id": "00000000-0000-4000-8000-00000000000a",
            "name": "Tim Peters",
            "user_principal_name": "tim@contoso.example",
            "signed_in_at": self.site.world.now.isoformat(),
            "scopes": list(scopes),
            "token_version": "1",
        }
        store = SessionStore(self.site.connection.tables, self.site.connection.id)
        await store.save_account(AccountRecord(**(usual | members)), further)

    async def record(self, object_id: str) -> UserPresence:
        return (await self.room.store.some([object_id]))[object_id]

    async def put(self, object_id: str, **members: Any) -> None:
        """Have the record of a user say this."""

        def change(key: str, row: UserPresence | None) -> UserPresence:
            return msgspec.structs.replace(row or UserPresence(object_id=key), **members)

        await self.room.store.change([object_id], change)

    def shown(self) -> dict[str, str]:
        """What the extensions show, by number."""
        return {number: one["presence_status"] for number, one in self.site.world.extensions().items()}

    def choose(self, number: str, status: str, custom: str = "") -> None:
        """Somebody chooses a status on the phone."""
        self.site.world.edit_extension(number, presence_status=status, custom_presence_status=custom)

    async def close(self) -> None:
        await close(self.room)


def lines(page: Page) -> list[list[str]]:
    """The rows of the list of users, without the boxes to tick."""
    return [row[-7:] for row in page.rows if len(row) in {7, 8}]


def names(page: Page) -> list[str]:
    return [row[0] for row in lines(page)]
