"""A tenant, a PBX and the engine between them, in one process: real https, real Azurite, a clock that tests move."""

import asyncio
import datetime
import os
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from local.azurite import Azurite
from local.microsoft import MicrosoftEmulator
from local.pbx.emulator import PbxEmulator
from local.sample import CLIENT_ID, CLIENT_SECRET, IDENTITY_CLIENT_ID, IDENTITY_HEADER, TENANT_ID
from store.document import Settings
from store.environment import Environment, StorageAccount
from store.links import Link
from store.runs import Run, RunItem
from sync.connection import Connection
from sync.service import Bridge, Message, execute, request_run, save_settings

PBX_CLIENT_ID = "local-bridge"
PBX_SECRET = "local-bridge-secret"
START = datetime.datetime(2026, 3, 2, 9, 0, tzinfo=datetime.UTC)


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

    def change_user(self, object_id: str, **properties: Any) -> None:
        """Change a user in Entra."""
        directory = self.microsoft.directory
        directory.update(directory.entities[object_id], properties)

    def delete_user(self, object_id: str) -> None:
        """Soft-delete a user in Entra."""
        self.microsoft.directory.delete(self.microsoft.directory.entities[object_id])

    def restore_user(self, object_id: str) -> None:
        self.microsoft.directory.restore(self.microsoft.directory.entities[object_id])

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

    def writes(self) -> list[str]:
        """The PBX requests that changed something, as their last path segments."""
        changing = {"create", "update", "delete", "send_welcome_email"}
        names = [request.path.rsplit("/", 1)[1] for request in self.pbx.requests if "/extension/" in request.path]
        return [name for name in names if name in changing]

    async def close(self) -> None:
        await self.bridge.close()
        await asyncio.sleep(0.02)  # aborted TLS connections are taken down by the loop's next turns
