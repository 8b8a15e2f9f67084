"""A tenant behind real https, and the gateway that reads it with pauses that take no time."""

import functools
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from tenacity import AsyncRetrying

import graph.client
from graph.client import Graph
from graph.credentials import Application, ApplicationCredential
from local.microsoft import MicrosoftEmulator
from local.microsoft.keys import KeyRing
from local.sample import CLIENT_ID, CLIENT_SECRET, TENANT_ID
from local.tls import ServerCertificate
from tests.conftest import AUTHORITY
from tests.graph.tenant import tenant

type Open = Callable[..., Graph]


@pytest.fixture(scope="session")
def certificate() -> ServerCertificate:
    return AUTHORITY.issue("graph")


@pytest.fixture(scope="session")
def signing_keys() -> list[dict[str, str]]:
    """Made once: an RSA key for each test would cost more than the tests."""
    return KeyRing().state()


@pytest.fixture
async def emulator(
    certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[MicrosoftEmulator]:
    made = MicrosoftEmulator(tenant(), page_size=5)
    made.keys.load(signing_keys)
    async with await made.start(certificate):
        yield made


@pytest.fixture
async def elsewhere(certificate: ServerCertificate) -> AsyncIterator[MicrosoftEmulator]:
    """Another host that would like to have our token."""
    async with await MicrosoftEmulator(tenant()).start(certificate) as made:
        yield made


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The pauses between attempts, in seconds: noted instead of slept."""
    taken: list[float] = []

    async def note(seconds: float) -> None:
        taken.append(seconds)

    monkeypatch.setattr(graph.client, "AsyncRetrying", functools.partial(AsyncRetrying, sleep=note))
    yield taken  # noqa: PT022 - read by the tests after the fact


@pytest.fixture
async def open_graph(emulator: MicrosoftEmulator) -> AsyncIterator[Open]:
    """Opens gateways to the emulator, with another application where a test says so, and closes them."""
    opened: list[Graph] = []

    def make(**application: str) -> Graph:
        usual = {
            "tenant_id": TENANT_ID,
            "client_id": CLIENT_ID,
            "authority": emulator.url,
            "kind": "secret",
            "proof": CLIENT_SECRET,
        }
        credential = ApplicationCredential(Application(**{**usual, **application}))  # type: ignore[arg-type]
        opened.append(Graph(f"{emulator.url}/v1.0", credential))
        return opened[-1]

    yield make
    for one in opened:
        await one.close()


@pytest.fixture
def reader(open_graph: Open) -> Graph:
    """The gateway as it usually is."""
    return open_graph()
