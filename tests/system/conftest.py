"""The running cloud for each test: its own processes, gone with it."""

from collections.abc import AsyncIterator

import pytest

from local.cloud import Cloud
from tests.system.client import Client


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    async with Cloud(message_lease=3) as cloud:
        yield cloud


@pytest.fixture
async def client(cloud: Cloud) -> AsyncIterator[Client]:
    async with Client(cloud) as client:
        yield client
