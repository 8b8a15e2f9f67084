"""Runs one queue-triggered function: fetch, invoke, delete; on failure make visible again, in the end to poison.

Fetching looks again at once while there is work and waits longer and longer (random, up to maxPollingInterval) while
there is none. A message being handled is kept invisible by renewing its lease at half time.
Public source: "Azure Queue storage trigger for Azure Functions" on learn.microsoft.com.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from local.host.config import QueueOptions
from local.host.functions import Entry, QueueTrigger
from local.host.storage import Queues, is_outage
from local.host.wire import Data, Kind

if TYPE_CHECKING:
    from azure.storage.queue import QueueMessage

log = logging.getLogger("local.host")

DEFAULT_LEASE = 600.0
_SHORTEST_WAIT = 0.1  # seconds; Microsoft's minimum polling interval
_RELEASE_PATIENCE = 0.3  # seconds for handing back what was not finished when the host stops

type Invoke = Callable[[Entry, Data, dict[str, Data]], Awaitable[bool]]


class Poller:
    """The listener of one queue trigger. ``lease`` is the seconds a message in work is invisible at a time."""

    def __init__(
        self,
        entry: Entry,
        trigger: QueueTrigger,
        options: QueueOptions,
        queues: Queues,
        invoke: Invoke,
        *,
        lease: float = DEFAULT_LEASE,
        rng: random.Random | None = None,
    ) -> None:
        self._entry = entry
        self._trigger = trigger
        self._options = options
        self._queues = queues
        self._invoke = invoke
        self._lease = max(1, round(lease))
        self._rng = rng or random.Random()
        self._client = queues.client(trigger.connection, trigger.queue)
        self._health = queues.health(trigger.connection)
        self._in_work: dict[asyncio.Task[None], QueueMessage] = {}
        self._woken = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self.wait = _SHORTEST_WAIT
        """Seconds until the next look at an empty queue."""
        queues.listen(trigger.connection, trigger.queue, self._woken.set)

    def start(self) -> None:
        """Begin polling."""
        self._loop = asyncio.create_task(self._poll())

    def stop_fetching(self) -> None:
        """Take no new message."""
        if self._loop is not None:
            self._loop.cancel()

    async def stop(self, patience: float) -> None:
        """Give messages in work ``patience`` seconds to end, then hand the rest back to the queue."""
        self.stop_fetching()
        if self._loop is not None:
            await asyncio.wait([self._loop])
        if self._in_work:
            await asyncio.wait(self._in_work, timeout=patience)
        unfinished = dict(self._in_work)
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished, timeout=_RELEASE_PATIENCE)
            releases = [self._make_visible(message, 0) for message in unfinished.values()]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.gather(*releases, return_exceptions=True), _RELEASE_PATIENCE)

    async def _poll(self) -> None:
        is_created = False
        while True:
            self._woken.clear()
            try:
                if not is_created:
                    await self._queues.create(self._trigger.connection, self._trigger.queue)
                    is_created = True
                count = await self._fetch()
                self._health.works()
            except ResourceNotFoundError:
                is_created = False
                count = 0
            except Exception as error:  # noqa: BLE001 - the poller outlives storage; a bug is told with its traceback
                self._report(error)
                count = 0
            self.wait = _SHORTEST_WAIT if count else self._longer(self.wait)
            if count:
                await self._room()
            else:
                await self._sleep(self.wait)

    def _report(self, error: Exception) -> None:
        if is_outage(error):
            self._health.failed(error)
        else:
            log.error("polling queue %r failed", self._trigger.queue, exc_info=error)

    async def _fetch(self) -> int:
        pages = self._client.receive_messages(
            messages_per_page=self._options.batch_size, visibility_timeout=self._lease
        ).by_page()
        page = await anext(pages, None)
        if page is None:
            return 0
        messages = [message async for message in page]
        for message in messages:
            task = asyncio.create_task(self._handle(message))
            self._in_work[task] = message
            task.add_done_callback(self._done)
        return len(messages)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_work.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The message becomes visible again when its lease ends.
            self._report(error) if isinstance(error, Exception) else log.error("handling failed", exc_info=error)
        if len(self._in_work) <= self._options.new_batch_threshold:
            self._woken.set()

    async def _room(self) -> None:
        while len(self._in_work) > self._options.new_batch_threshold:
            self._woken.clear()
            await self._woken.wait()

    def _longer(self, wait: float) -> float:
        """Doubles on average, never above the configured maximum."""
        return min(wait * self._rng.uniform(1.5, 2.5), max(self._options.max_polling_interval, _SHORTEST_WAIT))

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)

    async def _handle(self, message: "QueueMessage") -> None:
        attempt = message.dequeue_count or 1
        if attempt > self._options.max_dequeue_count:
            await self._poison(message, "its attempts ended without a result")
            return
        try:
            body = self._queues.decode(message.content)
        except ValueError as error:
            await self._poison(message, str(error))
            return
        ended = asyncio.Event()
        renewal = asyncio.create_task(self._renew(message, ended))
        try:
            is_ok = await self._invoke(self._entry, Data(Kind.STRING, body), _metadata(message, body))
        finally:
            # Not cancelled: a renewal under way changes the receipt that the next call needs.
            ended.set()
            await asyncio.wait([renewal])
        if is_ok:
            await self._delete(message)
        elif attempt >= self._options.max_dequeue_count:
            await self._poison(message, f"{attempt} attempts failed")
        else:
            with self._unless_taken_over(message):
                await self._make_visible(message, round(self._options.visibility_timeout))

    async def _renew(self, message: "QueueMessage", ended: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), self._lease / 2)
            if ended.is_set():
                return
            try:
                with self._unless_taken_over(message):
                    await self._make_visible(message, self._lease)
            except Exception as error:  # noqa: BLE001 - the next renewal may work; a bug is told with its traceback
                self._report(error)

    async def _make_visible(self, message: "QueueMessage", seconds: int) -> None:
        """Set when the message is visible; every update hands out a new receipt, which the next one needs."""
        updated = await self._client.update_message(message, visibility_timeout=seconds)
        message.pop_receipt = updated.pop_receipt

    async def _delete(self, message: "QueueMessage") -> None:
        with self._unless_taken_over(message):
            await self._client.delete_message(message)

    @contextlib.contextmanager
    def _unless_taken_over(self, message: "QueueMessage") -> Iterator[None]:
        """A message whose lease ran out may be with another reader, or gone: theirs to settle, no outage of storage."""
        try:
            yield
        except HttpResponseError as error:
            if error.status_code not in {400, 404}:  # the receipt is outdated, or the message is gone
                raise
            log.warning("message %s of queue %r was taken over by another reader", message.id, self._trigger.queue)

    async def _poison(self, message: "QueueMessage", why: str) -> None:
        queue = f"{self._trigger.queue}-poison"
        log.error("message %s of queue %r goes to %r: %s", message.id, self._trigger.queue, queue, why)
        await self._queues.put(self._trigger.connection, queue, message.content)
        await self._delete(message)


def _metadata(message: "QueueMessage", body: str) -> dict[str, Data]:
    def text(value: str | None) -> Data:
        return Data(Kind.STRING, value or "")

    def json(value: datetime | int | None) -> Data:
        return Data(Kind.JSON, msgspec.json.encode(value).decode())

    return {
        "QueueTrigger": text(body),
        "Id": text(message.id),
        "PopReceipt": text(message.pop_receipt),
        "DequeueCount": json(message.dequeue_count),
        "ExpirationTime": json(message.expires_on),
        "InsertionTime": json(message.inserted_on),
        "NextVisibleTime": json(message.next_visible_on),
    }
