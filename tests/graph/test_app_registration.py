"""The app registration: when its secrets and certificates end, where we may read it."""

from graph.client import Graph
from local.microsoft import MicrosoftEmulator
from local.sample import APP_OBJECT_ID, CLIENT_ID, CLIENT_SECRET
from tests.graph.tenant import refusal


async def test_the_ends_and_hints_of_the_secrets_are_read_but_never_their_values(reader: Graph) -> None:
    found = await reader.app_registration(CLIENT_ID)
    assert found is not None
    assert (found.id, found.app_id) == (APP_OBJECT_ID, CLIENT_ID)
    ends = {secret.hint: (secret.end_date_time or "")[:10] for secret in found.password_credentials}
    assert ends == {"Old": "2025-11-01", CLIENT_SECRET[:3]: "2099-12-31"}
    assert CLIENT_SECRET not in repr(found)
    assert reader.requests == 1


async def test_a_registration_that_we_may_not_read_is_simply_not_known(
    reader: Graph, emulator: MicrosoftEmulator
) -> None:
    emulator.faults.append(refusal(403, "Authorization_RequestDenied"))
    assert await reader.app_registration(CLIENT_ID) is None


async def test_a_registration_that_does_not_exist_is_not_known_either(reader: Graph) -> None:
    assert await reader.app_registration("99999999-9999-4999-8999-999999999999") is None
