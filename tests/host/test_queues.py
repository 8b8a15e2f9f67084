"""Queue triggers and outputs against Azurite."""

import base64
import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from local.azurite import Azurite
from local.host import config as host_config
from local.host.config import ConfigError
from tests.host.support import APP, HostFactory, Records, send, until

QUEUES = "AzureFunctionsJobHost__extensions__queues__"


def encoded(body: str) -> str:
    return base64.b64encode(body.encode()).decode()


class Account:
    """The storage account as the test sees it."""

    def __init__(self, service: QueueServiceClient, settings: dict[str, str]) -> None:
        self._service = service
        self._settings = settings

    def queue(self, setting: str, suffix: str = "") -> QueueClient:
        return self._service.get_queue_client(self._settings[setting] + suffix)

    async def bodies(self, setting: str, suffix: str = "") -> list[str]:
        """Decoded bodies of the visible messages; an absent queue is empty."""
        try:
            messages = await self.queue(setting, suffix).peek_messages(max_messages=32)
        except ResourceNotFoundError:
            return []
        return sorted(base64.b64decode(one.content).decode() for one in messages)

    async def eventually(self, setting: str, expected: list[str], suffix: str = "") -> None:
        deadline = time.monotonic() + 8
        while (found := await self.bodies(setting, suffix)) != expected:
            assert time.monotonic() < deadline, f"{found} instead of {expected}"

    async def left(self) -> int:
        """Messages in the trigger's queue, the invisible ones too."""
        return (await self.queue("WORK_QUEUE").get_queue_properties()).approximate_message_count or 0


@pytest_asyncio.fixture
async def account(stored: dict[str, str], azurite: Azurite) -> AsyncIterator[Account]:
    async with QueueServiceClient.from_connection_string(azurite.connection_string) as service:
        await service.create_queue(stored["WORK_QUEUE"])
        yield Account(service, stored)


async def test_a_message_runs_the_function_and_its_output_is_sent(
    account: Account, make_host: HostFactory, records: Records
) -> None:
    await account.queue("WORK_QUEUE").send_message(encoded("héllo"))
    await make_host()
    await account.eventually("DONE_QUEUE", ["done héllo"])
    assert [(one["body"], one["count"]) for one in records("work")] == [("héllo", 1)]
    await until_empty(account)


async def until_empty(account: Account) -> None:
    deadline = time.monotonic() + 8
    while await account.left():
        assert time.monotonic() < deadline, "the message was not deleted"


async def test_a_message_of_the_host_wakes_its_own_poller(
    account: Account, make_host: HostFactory, stored: dict[str, str], records: Records
) -> None:
    stored[f"{QUEUES}maxPollingInterval"] = "00:01:00"
    host = await make_host()
    await until(lambda: host._pollers[0].wait > 2)  # the next look is seconds away
    begin = time.monotonic()
    assert (await send(host, "/enqueue", "POST", body=b'"wake up"')).status == 202
    await until(lambda: records("work"))
    assert time.monotonic() - begin < 1


async def test_outputs_are_text_json_or_a_list_of_messages(account: Account, make_host: HostFactory) -> None:
    host = await make_host()
    await send(host, "/enqueue", "POST", body=b'["one", "two"]')
    await send(host, "/enqueue", "POST", body=b'{"three": 3}')
    await account.eventually("DONE_QUEUE", ["done one", "done two", 'done {"three": 3}'])


async def test_a_failing_message_is_tried_again_and_ends_as_poison(
    account: Account, make_host: HostFactory, records: Records
) -> None:
    await account.queue("WORK_QUEUE").send_message(encoded("fail"))
    await make_host()
    await account.eventually("WORK_QUEUE", ["fail"], "-poison")
    assert [one["count"] for one in records("work")] == [1, 2, 3]
    await until_empty(account)
    assert await account.bodies("DONE_QUEUE") == []


async def test_a_failed_message_waits_for_the_visibility_timeout(
    account: Account, make_host: HostFactory, stored: dict[str, str], records: Records
) -> None:
    stored[f"{QUEUES}visibilityTimeout"] = "00:00:01"
    stored[f"{QUEUES}maxDequeueCount"] = "2"
    begin = time.monotonic()
    await account.queue("WORK_QUEUE").send_message(encoded("fail"))
    await make_host()
    await until(lambda: len(records("work")) == 2)
    assert time.monotonic() - begin > 0.9


async def test_a_message_that_is_not_base64_is_poison_at_once(
    account: Account, make_host: HostFactory, records: Records
) -> None:
    await account.queue("WORK_QUEUE").send_message("{plain}")
    await make_host()
    poison = account.queue("WORK_QUEUE", "-poison")
    deadline = time.monotonic() + 8
    while True:
        assert time.monotonic() < deadline
        try:
            found = await poison.peek_messages()
        except ResourceNotFoundError:
            continue
        if found:
            break
    assert found[0].content == "{plain}"
    assert records("work") == []


async def test_without_encoding_text_travels_as_it_is(
    account: Account, make_host: HostFactory, stored: dict[str, str], records: Records
) -> None:
    stored[f"{QUEUES}messageEncoding"] = "none"
    await account.queue("WORK_QUEUE").send_message("plain")
    await make_host()
    await until(lambda: records("work"))
    assert records("work")[0]["body"] == "plain"


async def test_a_long_invocation_keeps_its_message(account: Account, make_host: HostFactory, records: Records) -> None:
    await account.queue("WORK_QUEUE").send_message(encoded("slow 2.5"))
    await make_host(message_lease=1.0)  # renewed every half second; unrenewed, it would be handled thrice
    await account.eventually("DONE_QUEUE", ["done slow 2.5"])
    await until_empty(account)
    assert [one["count"] for one in records("work")] == [1]


async def test_a_message_in_work_returns_to_the_queue_when_the_host_stops(
    account: Account, make_host: HostFactory, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.host.core.DRAIN", 0.05)
    await account.queue("WORK_QUEUE").send_message(encoded("slow 30"))
    host = await make_host()
    await until(lambda: records("work"))
    await host.stop()
    await account.eventually("WORK_QUEUE", ["slow 30"])


async def test_no_more_messages_are_handled_at_once_than_batch_and_threshold_allow(
    account: Account, make_host: HostFactory, stored: dict[str, str], records: Records
) -> None:
    stored |= {f"{QUEUES}batchSize": "2", f"{QUEUES}newBatchThreshold": "1"}
    for number in range(6):
        await account.queue("WORK_QUEUE").send_message(encoded(f"slow 0.1{number}"))
    host = await make_host()
    most = 0
    while len(await account.bodies("DONE_QUEUE")) < 6:
        most = max(most, len(host._pollers[0]._in_work))
    assert 1 <= most <= 3
    assert sorted(one["count"] for one in records("work")) == [1] * 6


async def test_a_missing_trigger_queue_is_created(
    stored: dict[str, str], azurite: Azurite, make_host: HostFactory, records: Records
) -> None:
    host = await make_host()
    await send(host, "/enqueue", "POST", body=b'"first"')
    await until(lambda: records("work"))


async def test_polling_goes_on_when_storage_comes_back(
    settings: dict[str, str], make_host: HostFactory, records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with Azurite(persist=True) as own:
        settings["AzureWebJobsStorage"] = own.connection_string
        host = await make_host()
        await send(host, "/enqueue", "POST", body=b'"before"')
        await until(lambda: len(records("work")) == 1)
        await own.stop()
        await until(lambda: "cannot be used" in caplog.text)
        assert (await send(host, "/ping")).status == 200
        await own.restart()
        await until(lambda: "works again" in caplog.text)
        await send(host, "/enqueue", "POST", body=b'"after"')
        await until(lambda: len(records("work")) >= 2)
        assert [one["body"] for one in records("work")][-1] == "after"
        await host.stop()


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [("batchSize", "33", "batchSize"), ("messageEncoding", "rot13", "rot13"), ("visibilityTimeout", "soon", "soon")],
)
def test_a_wrong_option_is_named(settings: dict[str, str], setting: str, value: str, said: str) -> None:
    settings[f"{QUEUES}{setting}"] = value
    with pytest.raises(ConfigError, match=said):
        host_config.load(APP, settings)


@pytest.mark.parametrize("missing", ["WORK_QUEUE", "AzureWebJobsStorage"])
async def test_a_missing_setting_is_named(settings: dict[str, str], make_host: HostFactory, missing: str) -> None:
    del settings[missing]
    with pytest.raises(ConfigError, match=missing):
        await make_host()


def test_options_of_host_json_are_read(settings: dict[str, str]) -> None:
    options = host_config.load(APP, settings).queues
    assert json.loads((APP / "host.json").read_text())["extensions"]["queues"]["batchSize"] == options.batch_size == 4
    assert (options.max_polling_interval, options.new_batch_threshold, options.max_dequeue_count) == (0.2, 2, 3)
