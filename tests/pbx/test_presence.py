"""What extensions show, and writing it."""

import msgspec
import pytest

from local.pbx.directory import Extension
from pbx.errors import NotFound
from pbx.presence import FEW, read_presence, write_presence
from tests.pbx.support import Office


def edit(office: Office, number: str, **fields: str) -> None:
    """Change an extension by hand."""
    extensions = office.emulator.machine.directory
    [extension] = [extension for extension in extensions if extension.number == number]
    extensions.replace(msgspec.structs.replace(extension, **fields))


def paths(office: Office) -> list[str]:
    return [request.path.rsplit("/", 1)[1] for request in office.emulator.requests if "/extension/" in request.path]


async def test_a_few_extensions_are_searched_for_by_their_whole_numbers(office: Office) -> None:
    edit(office, "1001", presence_status="lunch")
    edit(office, "10", custom_presence_status="On site")
    shown = await read_presence(office.client(), {2: "1001", 7: "10"})
    assert {key: (row.status, row.custom_presence_status) for key, row in shown.items()} == {
        2: ("lunch", ""),
        7: ("available", "On site"),
    }
    assert paths(office) == ["search", "search"]


async def test_many_extensions_are_listed_once(office: Office) -> None:
    for number in range(2000, 2000 + FEW):
        office.emulator.machine.directory.add(msgspec.convert({"number": str(number)}, Extension))
    wanted = {extension.id: extension.number for extension in office.emulator.machine.directory}
    assert set(await read_presence(office.client(), wanted)) == set(wanted)
    assert paths(office) == ["list"]


async def test_an_id_that_has_another_number_now_is_somebody_else(office: Office) -> None:
    assert await read_presence(office.client(), {1: "1001", 99: "1000"}) == {}


async def test_the_misspelt_lunch_of_old_firmware_is_read_as_lunch(office: Office) -> None:
    machine = office.emulator.machine
    machine.firmware = msgspec.structs.replace(machine.firmware, lunch_as_launch=True)
    edit(office, "1000", presence_status="lunch")
    assert (await read_presence(office.client(), {1: "1000"}))[1].status == "lunch"


async def test_a_status_is_written_and_nothing_else(office: Office) -> None:
    await write_presence(office.client(), 1, "do_not_disturb")
    shown = await read_presence(office.client(), {1: "1000"})
    assert shown[1].status == "do_not_disturb"
    [request] = [request for request in office.emulator.requests if request.path.endswith("/update")]
    assert msgspec.json.decode(request.body) == {"id": 1, "presence_status": "do_not_disturb"}


async def test_an_extension_that_is_gone_is_told(office: Office) -> None:
    with pytest.raises(NotFound):
        await write_presence(office.client(), 99, "away")
