"""A tenant, a PBX and the engine between them, in one process: real https, real Azurite, a clock that tests move."""

import asyncio
import contextlib
import datetime
import os
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from typing import Any, Literal

import msgspec

from graph.models import User
from local.azurite import Azurite
from local.microsoft import MicrosoftEmulator
from local.pbx.directory import Extension
from local.pbx.emulator import PbxEmulator
from local.pbx.groups import DEFAULT_NAME, Group, GroupMember
from local.sample import CLIENT_ID, CLIENT_SECRET, IDENTITY_CLIENT_ID, IDENTITY_HEADER, TENANT_ID, Tenant
from local.tls import ServerCertificate
from store.document import Settings
from store.environment import Environment, StorageAccount
from store.links import Link
from store.runs import Run, RunItem
from sync.connection import Connection
from sync.fields import desired
from sync.messages import Message
from sync.service import Bridge, execute, request_run, save_settings

PBX_CLIENT_ID = "local-bridge"
PBX_SECRET = "local-bridge-secret"
START = datetime.datetime(2026, 3, 2, 9, 0, tzinfo=datetime.UTC)
EVERYONE = "everyone"
"""In place of the numbers of an extension group that holds all extensions."""
NOBODY = Tenant()

type GroupKind = Literal["security", "microsoft365", "other"]


class World:
    """Everything a run meets."""

    def __init__(self, azurite: Azurite, microsoft: MicrosoftEmulator, pbx: PbxEmulator) -> None:
        self.microsoft = microsoft
        self.pbx = pbx
        self.now = START
        self.id = uuid.uuid4().hex
        self.environment = Environment(
            storage=StorageAccount(azurite.connection_string),
            key_vault_url=microsoft.url,
            has_identity=True,
            identity_client_id=IDENTITY_CLIENT_ID,
            graph_base_url=f"{microsoft.url}/v1.0",
            entra_authority=microsoft.url,
            tenant_id=TENANT_ID,
            client_id=CLIENT_ID,
            pbx_fqdn=pbx.url.removeprefix("https://"),
            pbx_client_id=PBX_CLIENT_ID,
        )
        os.environ["IDENTITY_ENDPOINT"] = f"{microsoft.url}/msi/token"
        os.environ["IDENTITY_HEADER"] = IDENTITY_HEADER
        self.bridge = Bridge(self.environment, now=self.tell)

    def tell(self) -> datetime.datetime:
        """The engine's clock: it moves a millisecond each time it is asked."""
        self.now += datetime.timedelta(milliseconds=1)
        return self.now

    @property
    def connection(self) -> Connection:
        return self.bridge.connection(self.id)

    async def secrets(self, entra: str = CLIENT_SECRET, pbx: str = PBX_SECRET) -> None:
        """Put both secrets into the Key Vault."""
        await self.connection.secrets.write("entra-client-secret", entra)
        await self.connection.secrets.write("pbx-client-secret", pbx)

    async def settings(self, change: Callable[[dict[str, Any]], None] | None = None) -> list[Message]:
        """Change the settings document and save it."""
        base = await self.connection.settings.load()
        document = msgspec.to_builtins(base.settings)
        document["pbx"]["max_writes_per_second"] = 1000
        if change is not None:
            change(document)
        _, messages = await save_settings(self.connection, msgspec.convert(document, Settings), base, self.tell())
        return messages

    async def enable(self, **users: Any) -> list[Message]:
        """Switch users on, with these rules."""

        def change(document: dict[str, Any]) -> None:
            document["users"] |= {"enabled": True, **users}

        return await self.settings(change)

    async def enable_groups(self, users: dict[str, Any] | None = None, **groups: Any) -> list[Message]:
        """Switch users and groups on, groups with these rules."""

        def change(document: dict[str, Any]) -> None:
            document["users"] |= {"enabled": True, **(users or {})}
            document["groups"] |= {"enabled": True, **groups}

        return await self.settings(change)

    async def first_sync(self, users: dict[str, Any] | None = None, percent: float = 100, **groups: Any) -> Run:
        """Switch users and groups on, the guard at so many per cent, and execute the first run."""
        await self.secrets()
        await self.settings(lambda document: document["guard"].update(max_deletion_percent=percent))
        [message] = await self.enable_groups(users, **groups)
        run = await self.execute(message)
        assert run.status == "succeeded", run
        return run

    async def sync(self, **options: Any) -> Run:
        """A run of users and groups."""
        return await self.run(what=("users", "groups"), **options)

    async def run(self, **options: Any) -> Run:
        """Request a run and execute it to its end."""
        run, message = await request_run(self.connection, self.tell(), started_by="api", **options)
        return await self.execute(message, run.id)

    async def execute(self, message: Message, run_id: str = "") -> Run:
        """Execute what a message asks for, with its continuations."""
        messages = [message]
        while messages:
            messages = await execute(self.connection, messages[0].run, self.tell)
        found = await self.connection.runs.get(run_id or message.run)
        assert found is not None
        return found

    async def items(self, run: Run) -> list[RunItem]:
        return [item async for item in self.connection.runs.items(run.id)]

    async def links(self) -> list[Link]:
        return [link async for link in self.connection.links("users").all()]

    async def group_links(self) -> dict[str, Link]:
        """The links of groups, by object id."""
        return {link.object_id: link async for link in self.connection.links("groups").all()}

    # Entra

    def person(self, name: str, **properties: Any) -> str:
        """A new user with an address; answers the object id."""
        address = f"{name.lower().replace(' ', '.')}@contoso.example"
        usual = {"id": self._new_id(), "displayName": name, "userPrincipalName": address, "mail": address,
                 "mailNickname": "x"}  # fmt: skip
        return self.microsoft.directory.create("user", {**usual, **properties}).id

    def people(self, number: int) -> list[str]:
        """So many new users, in the order in which they get their numbers: 1000, 1001 and so on."""
        return [self.person(f"Person {index:04}") for index in range(number)]

    def _new_id(self) -> str:
        """Object ids in no order, and the same ones in every world. Those of purged objects are never used again."""
        number = sum(map(len, self.microsoft.directory.order.values()))
        return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))

    async def staff(self, number: int) -> list[str]:
        """So many users as they are after their first sync, with extensions and links; much faster than one."""
        extensions, links = self.pbx.machine.directory, []
        ids = self.people(number)
        for index, object_id in enumerate(ids):
            properties = self.microsoft.directory.entities[object_id].properties
            fields = desired(msgspec.convert(properties, User)).fields()
            extension = extensions.add(msgspec.convert({"number": str(1000 + index), **fields}, Extension))
            links.append(
                Link(
                    object_id=object_id,
                    pbx_id=extension.id,
                    number=extension.number,
                    name=properties["displayName"],
                    email=fields["email_addr"],
                    user_principal_name=properties["userPrincipalName"],
                    written=fields,
                )
            )
        await self.connection.links("users").write(save=links)
        return ids

    def change_user(self, object_id: str, **properties: Any) -> None:
        """Change a user in Entra."""
        directory = self.microsoft.directory
        directory.update(directory.entities[object_id], properties)

    def delete_user(self, object_id: str) -> None:
        """Soft-delete a user in Entra."""
        self.microsoft.directory.delete(self.microsoft.directory.entities[object_id])

    def restore_user(self, object_id: str) -> None:
        self.microsoft.directory.restore(self.microsoft.directory.entities[object_id])

    def group(self, name: str, *members: str, kind: GroupKind = "security") -> str:
        """A new group; answers the object id."""
        directory = self.microsoft.directory
        shape = {"securityEnabled": kind == "security", "mailEnabled": kind != "security"}
        types = ["Unified"] if kind == "microsoft365" else []
        names = {"id": self._new_id(), "displayName": name, "mailNickname": "g"}
        entity = directory.create("group", {**names, "groupTypes": types, **shape})
        self.join(entity.id, *members)
        return entity.id

    def join(self, group_id: str, *members: str) -> None:
        directory = self.microsoft.directory
        directory.link(directory.entities[group_id], "members", list(members), [])

    def leave(self, group_id: str, *members: str) -> None:
        directory = self.microsoft.directory
        directory.link(directory.entities[group_id], "members", [], list(members))

    def rename_group(self, group_id: str, name: str) -> None:
        directory = self.microsoft.directory
        directory.update(directory.entities[group_id], {"displayName": name})

    def delete_group(self, group_id: str) -> None:
        """Delete a group in Entra: restorably when it is a Microsoft 365 group."""
        self.microsoft.directory.delete(self.microsoft.directory.entities[group_id])

    def restore_group(self, group_id: str) -> None:
        self.microsoft.directory.restore(self.microsoft.directory.entities[group_id])

    # The PBX

    def extensions(self) -> dict[str, dict[str, Any]]:
        """The PBX's extensions by number."""
        return {extension["number"]: extension for extension in self.pbx.state()["extensions"]}

    def edit_extension(self, number: str, /, **fields: Any) -> None:
        """Change an extension on the PBX by hand."""
        extensions = self.pbx.machine.directory
        [extension] = [extension for extension in extensions if extension.number == number]
        extensions.replace(msgspec.structs.replace(extension, **fields))

    def remove_extension(self, number: str) -> None:
        """Delete an extension on the PBX by hand."""
        extensions = self.pbx.machine.directory
        [extension] = [extension for extension in extensions if extension.number == number]
        extensions.remove(extension.id)

    def licence(self, extensions: int) -> None:
        """Let the PBX have so many extensions."""
        self.pbx.machine.capacity = msgspec.structs.replace(self.pbx.machine.capacity, extensions=extensions)

    def firmware(self, **switches: Any) -> None:
        """Let the PBX have this firmware."""
        self.pbx.machine.firmware = msgspec.structs.replace(self.pbx.machine.firmware, **switches)

    def pbx_groups(self) -> list[tuple[str, list[str] | str]]:
        """The names of the extension groups and the numbers in each, both in order, the built-in one left out."""
        numbers = {extension.id: extension.number for extension in self.pbx.machine.directory}
        return sorted(
            (
                group.name,
                EVERYONE
                if group.member_select == "sel_all_ext"
                else sorted(numbers[member.ext_id] for member in group.members),
            )
            for group in self.pbx.machine.groups
            if group.name != DEFAULT_NAME
        )

    def pbx_group(self, name: str) -> Group:
        """The extension group of this name."""
        [group] = [group for group in self.pbx.machine.groups if group.name == name]
        return group

    def add_pbx_group(self, name: str, numbers: Collection[str] = ()) -> None:
        """Make an extension group by hand."""
        self.pbx.machine.groups.add(Group(name=name, members=self._members(numbers)))

    def edit_pbx_group(self, name: str, /, numbers: Collection[str] | None = None, **fields: Any) -> None:
        """Change an extension group by hand: its members, or whatever else."""
        if numbers is not None:
            fields["members"] = self._members(numbers)
        self.pbx.machine.groups.replace(msgspec.structs.replace(self.pbx_group(name), **fields))

    def remove_pbx_group(self, name: str) -> None:
        """Delete an extension group by hand."""
        self.pbx.machine.groups.remove(self.pbx_group(name).id)

    def _members(self, numbers: Iterable[str]) -> tuple[GroupMember, ...]:
        ids = {extension.number: extension.id for extension in self.pbx.machine.directory}
        return tuple(GroupMember(ids[number]) for number in numbers)

    def writes(self) -> list[str]:
        """The PBX requests about extensions that changed something, as their last path segments."""
        changing = {"create", "update", "delete", "send_welcome_email"}
        names = [request.path.rsplit("/", 1)[1] for request in self.pbx.requests if "/extension/" in request.path]
        return [name for name in names if name in changing]

    def group_writes(self) -> list[str]:
        """The PBX requests about extension groups that changed something, as their last path segments."""
        paths = [request.path.split("/")[-2:] for request in self.pbx.requests]
        return [
            name
            for family, name in paths
            if family in {"extensiongroup", "extension_group"} and name in {"create", "update", "delete"}
        ]

    async def close(self) -> None:
        await self.bridge.close()
        await asyncio.sleep(0.02)  # aborted TLS connections are taken down by the loop's next turns


@contextlib.asynccontextmanager
async def empty_world(
    azurite: Azurite,
    certificate: ServerCertificate,
    signing_keys: list[dict[str, str]],
    *,
    tenant: Tenant = NOBODY,
    capacity: int = 500,
) -> AsyncIterator[World]:
    """A world of this tenant, by default without anybody, and a PBX without extensions: tests put in what they are
    about."""
    microsoft = MicrosoftEmulator(tenant)
    microsoft.keys.load(signing_keys)
    pbx = PbxEmulator(client_id=PBX_CLIENT_ID, client_secret=PBX_SECRET, capacity=capacity)
    async with await microsoft.start(certificate), await pbx.start(certificate):
        world = World(azurite, microsoft, pbx)
        try:
            yield world
        finally:
            await world.close()
