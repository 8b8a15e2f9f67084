"""Storage queues for triggers and outputs: clients, encoding, and who is told about a message that we put ourselves."""

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError

from local.host.config import ConfigError
from local.host.wire import Data, Kind

if TYPE_CHECKING:
    from azure.storage.queue.aio import QueueClient, QueueServiceClient

log = logging.getLogger("local.host")

TIMEOUTS: dict[str, Any] = {"retry_total": 0, "connection_timeout": 5, "read_timeout": 30}
"""Client options: the callers retry in their own rhythm; the library's own retries would stall a poller."""


class Health:
    """Tells of a failing service once, and once when it works again."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_failing = False

    def failed(self, error: Exception) -> None:
        """Something did not work; quiet after the first time."""
        if not self._is_failing:
            first_line = str(error).strip().partition("\n")[0]
            log.warning("%s cannot be used, trying on: %s: %s", self._what, type(error).__name__, first_line)
        self._is_failing = True

    def works(self) -> None:
        """It worked; quiet unless it did not before."""
        if self._is_failing:
            log.info("%s works again", self._what)
        self._is_failing = False


class Queues:
    """The queues of every storage account that the app names; one client for each account."""

    def __init__(self, *, base64: bool) -> None:
        self._base64 = base64
        self._services: dict[str, QueueServiceClient] = {}
        self._clients: dict[tuple[str, str], QueueClient] = {}
        self._health: dict[str, Health] = {}
        self._listeners: dict[tuple[str, str], list[Callable[[], None]]] = {}

    def health(self, connection: str) -> Health:
        """The health of one account's queues."""
        return self._health.setdefault(connection, Health(f"queue storage ({_account(connection)})"))

    def listen(self, connection: str, queue: str, wake: Callable[[], None]) -> None:
        """Call ``wake`` whenever this host puts a message into the queue."""
        self._listeners.setdefault((connection, queue), []).append(wake)

    def client(self, connection: str, queue: str) -> "QueueClient":
        """The queue's client. Raises ConfigError for something that is no connection string."""
        client = self._clients.get((connection, queue))
        if client is None:
            client = self._clients[connection, queue] = self._service(connection).get_queue_client(queue)
        return client

    def _service(self, connection: str) -> "QueueServiceClient":
        service = self._services.get(connection)
        if service is None:
            from azure.storage.queue.aio import QueueServiceClient

            try:
                service = QueueServiceClient.from_connection_string(connection, **TIMEOUTS)
            except ValueError as error:
                raise ConfigError(f"a storage connection string cannot be used: {error}") from error
            self._services[connection] = service
        return service

    async def create(self, connection: str, queue: str) -> None:
        """Make sure the queue is there."""
        try:
            await self.client(connection, queue).create_queue()
        except ResourceExistsError:
            return

    async def put(self, connection: str, queue: str, content: str) -> None:
        """Put one message whose text is already encoded, making the queue when it is missing; wakes the listeners."""
        client = self.client(connection, queue)
        try:
            await client.send_message(content)
        except ResourceNotFoundError:
            await self.create(connection, queue)
            await client.send_message(content)
        for wake in self._listeners.get((connection, queue), ()):
            wake()

    async def put_outputs(self, connection: str, queue: str, data: Data) -> None:
        """Put what an output binding was set to: a text or bytes is one message, a JSON list one for each element."""
        for body in _bodies(data):
            await self.put(connection, queue, self.encode(body))

    def encode(self, body: bytes) -> str:
        """A message's body as the text that travels."""
        return base64.b64encode(body).decode() if self._base64 else body.decode()

    def decode(self, content: str) -> str:
        """A received text as the body the function sees. Raises ValueError for a wrong encoding."""
        if not self._base64:
            return content
        try:
            return base64.b64decode(content, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError(f"the message is no base64 of UTF-8 text: {error}") from error

    async def close(self) -> None:
        """Close every client."""
        for service in self._services.values():
            await service.close()
        self._services.clear()
        self._clients.clear()


def _bodies(data: Data) -> list[bytes]:
    if data.kind is not Kind.JSON:
        return [data.value if isinstance(data.value, bytes) else str(data.value).encode()]
    document = msgspec.json.decode(str(data.value))
    items = document if isinstance(document, list) else [document]
    return [one.encode() if isinstance(one, str) else msgspec.json.encode(one) for one in items]


def _account(connection: str) -> str:
    """The part of a connection string that may be shown: never its key."""
    parts = dict(part.partition("=")[::2] for part in connection.split(";") if part)
    return parts.get("QueueEndpoint") or parts.get("AccountName") or "unnamed account"


def is_outage(error: BaseException) -> bool:
    """Whether the error means that storage cannot be reached or refuses, not that we have a bug."""
    return isinstance(error, AzureError | OSError | asyncio.TimeoutError)
