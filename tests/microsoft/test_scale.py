"""What a large tenant costs: an enumeration is linear, a round of changes costs as much as the changes."""

import time
from typing import Any

import msgspec
import pytest

from local.microsoft import MicrosoftEmulator
from local.microsoft.apps import GRAPH
from local.microsoft.messages import GraphRequest
from local.microsoft.tokens import Principal
from local.sample import generate_tenant

USERS = 100_000
SELECT = "$select=id,displayName,givenName,surname,mail,userPrincipalName,mobilePhone,jobTitle,accountEnabled,userType"


def page(emulator: MicrosoftEmulator, query: str) -> dict[str, Any]:
    principal = Principal("app", "oid", GRAPH, frozenset(), 0.0)
    request = GraphRequest("GET", "/users/delta", query, {}, b"", "https://localhost", principal)
    decoded: dict[str, Any] = msgspec.json.decode(emulator.graph.delta.serve(request, "user").body)
    return decoded


def run(emulator: MicrosoftEmulator, query: str) -> tuple[int, str]:
    """Entries of a whole round, and the query of the next one."""
    entries = 0
    while True:
        answer = page(emulator, query)
        entries += len(answer["value"])
        link = answer.get("@odata.nextLink") or answer["@odata.deltaLink"]
        query = link.partition("?")[2]
        if "@odata.deltaLink" in answer:
            return entries, query


@pytest.fixture(scope="module")
def large() -> MicrosoftEmulator:
    return MicrosoftEmulator(generate_tenant(USERS, 100, 1))


def test_a_large_tenant_enumerates_in_seconds_and_changes_cost_as_much_as_they_are(large: MicrosoftEmulator) -> None:
    started = time.process_time()
    entries, query = run(large, SELECT)
    assert time.process_time() - started < 8, "about 1.5 s on an idle machine"
    assert 99_000 < entries <= USERS
    directory = large.directory
    for _, user in list(directory.live("user", 5000))[:10]:
        directory.update(user, {"jobTitle": "Changed"})
    started = time.process_time()
    assert run(large, query)[0] == 10
    assert time.process_time() - started < 0.05, "about a millisecond on an idle machine"
