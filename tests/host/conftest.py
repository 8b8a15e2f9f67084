"""Hosts for the tests: in this process for most, as real processes where that is the subject."""

import contextlib
import json
import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from local.azurite import ACCOUNT, KEY, Azurite
from local.host import config as host_config
from local.host.clock import Clock
from local.host.core import Host, create
from local.host.keys import Keys
from local.host.timer_store import MemoryTimerStore
from tests.host.support import APP, KEYS, HostFactory


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def azurite() -> AsyncIterator[Azurite]:
    """One Azurite for all tests; they use queues and timers of their own names."""
    async with Azurite() as azurite:
        yield azurite


@pytest.fixture
def no_storage() -> str:
    """A connection string of a storage account that does not answer."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    url = f"http://127.0.0.1:{port}/{ACCOUNT}"
    return f"AccountName={ACCOUNT};AccountKey={KEY};QueueEndpoint={url};TableEndpoint={url};BlobEndpoint={url};"


@pytest.fixture
def settings(no_storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """App settings of the fixture app, with storage that is down and names of this test's own."""
    own = uuid.uuid4().hex[:12]
    monkeypatch.setenv("FIXTURE_RECORDS", str(tmp_path))
    return {
        "PATH": os.environ["PATH"],
        "AzureWebJobsStorage": no_storage,
        "AzureFunctionsWebHost__hostid": own,
        "WORK_QUEUE": f"work-{own}",
        "DONE_QUEUE": f"done-{own}",
        "TICK": "0 0 * * * *",
        "FIXTURE_RECORDS": str(tmp_path),
    }


@pytest.fixture
def stored(settings: dict[str, str], azurite: Azurite) -> dict[str, str]:
    """The same settings, with storage that works."""
    settings["AzureWebJobsStorage"] = azurite.connection_string
    return settings


@pytest_asyncio.fixture
async def make_host(settings: dict[str, str]) -> AsyncIterator[HostFactory]:
    """Start the fixture app in this process; one at a time, stopped at the end of the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(clock: Clock | None = None, keys: Keys = KEYS, **options: Any) -> Host:
            config = host_config.load(APP, settings)
            options.setdefault("timer_store", MemoryTimerStore())
            host = create(config, in_process=True, keys=keys, clock=clock, **options)
            await host.start()
            stack.push_async_callback(host.stop)
            return host

        yield make


@pytest.fixture
def records(tmp_path: Path) -> Callable[[str], list[dict[str, Any]]]:
    """What functions of that name recorded so far."""

    def read(name: str) -> list[dict[str, Any]]:
        file = tmp_path / f"{name}.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    return read
