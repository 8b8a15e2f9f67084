"""Presence of many at once, of whom some may not exist any more."""

import pytest

from graph.client import ATTEMPTS, Graph
from graph.errors import Unavailable
from graph.presence import STRANGERS, get_presences
from local.microsoft import MicrosoftEmulator
from local.microsoft.errors import GraphError
from local.sample import user_id
from tests.graph.tenant import fault, refusal, seen

PATH = "/v1.0/communications/getPresencesByUserId"
THERE = [user_id(number) for number in range(1, 9)]
GONE = user_id(999)


async def known(graph: Graph, *ids: str) -> set[str]:
    return {one.id for one in await get_presences(graph, ids)}


@pytest.mark.parametrize("code", ["Request_ResourceNotFound", "NotFound", "itemNotFound", "ExtensionError"])
async def test_one_user_who_does_not_exist_costs_no_other(
    reader: Graph, emulator: MicrosoftEmulator, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    emulator.presences.switches.unknown_ids = "refused"
    monkeypatch.setattr(
        "local.microsoft.presence_calls.not_found", lambda _: GraphError(404, code, "There is no such user.")
    )
    assert await known(reader, *THERE[:5], GONE, *THERE[5:]) == set(THERE)
    assert await known(reader, GONE) == set()


async def test_a_gateway_that_has_no_such_page_says_nothing_about_users(
    reader: Graph, emulator: MicrosoftEmulator
) -> None:
    emulator.faults.append(fault(status=404, path=PATH, body="<html>", times=ATTEMPTS))
    with pytest.raises(Unavailable):
        await get_presences(reader, THERE)
    assert len(seen(emulator, PATH)) == ATTEMPTS


async def test_when_nobody_of_many_exists_something_else_is_wrong(reader: Graph, emulator: MicrosoftEmulator) -> None:
    emulator.faults.append(refusal(404, "UnknownError", path=PATH, times=None))
    with pytest.raises(Unavailable, match="none of the users"):
        await get_presences(reader, [user_id(number) for number in range(1, 651)])
    assert len(seen(emulator, PATH)) < 4 * STRANGERS
