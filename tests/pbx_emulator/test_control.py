"""The administrator's hand, content in and out, faults, the journal and the process."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from local.pbx import cli
from local.pbx.emulator import PbxEmulator
from local.pbx.journal import ENVIRONMENT
from local.tls import ServerCertificate
from tests.pbx_emulator.api import CLIENT_ID, CLIENT_SECRET, Api
from tests.pbx_emulator.conftest import ADA
from tests.pbx_emulator.contract import read_journal

ROOT = Path(__file__).parents[2]


async def test_an_administrator_makes_changes_and_deletes_extensions(api: Api) -> None:
    made = await api.control("POST", "/extensions", {"number": "1800", "email_addr": "h+x@example.com", "type": "FXS"})
    assert (made["id"], made["reg_name"]) == (6, "1800")
    changed = await api.control("PATCH", "/extensions/6", {"first_name": "Hand", "number": "1801"})
    assert (changed["email_addr"], changed["number"]) == ("h+x@example.com", "1801")
    assert (await api.get("/extension/search", search_value="1801"))["data"][0]["caller_id_name"] == "Hand"
    await api.control("DELETE", "/extensions/6")
    assert [extension["id"] for extension in await api.control("GET", "/extensions")] == [1, 2, 5]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/extensions", {"number": "1000"}, 409),
        ("POST", "/extensions", {"number": "1800", "email_addr": "ADA@example.com"}, 409),
        ("POST", "/extensions", {"number": "1800", "id": 1}, 409),
        ("POST", "/extensions", {"number": "x"}, 400),
        ("POST", "/extensions", {}, 400),
        ("POST", "/extensions", {"number": "1800", "colour": "red"}, 400),
        ("PATCH", "/extensions/1", {"number": "1001"}, 409),
        ("PATCH", "/extensions/1", {"number": "x"}, 400),
        ("PATCH", "/extensions/1", {"colour": "red"}, 400),
        ("PATCH", "/extensions/99", {}, 404),
        ("GET", "/extensions/99", None, 404),
        ("DELETE", "/extensions/99", None, 404),
        ("PUT", "/application", {"permitted_ips": ["here"]}, 400),
        ("PUT", "/capacity", {"extensions": "many"}, 400),
        ("PUT", "/settings", {"colour": "red"}, 400),
        ("PUT", "/state", {"extensions": [ADA, ADA]}, 400),
        ("PUT", "/state", {"extensions": [{"number": 1}]}, 400),
        ("PUT", "/state", {"colour": "red"}, 400),
        ("PUT", "/state", [], 400),
    ],
)
async def test_nonsense_is_refused_in_words_and_changes_nothing(
    api: Api, method: str, path: str, body: Any, status: int
) -> None:
    before = await api.control("GET", "/state")
    got, answer = await api.try_control(method, path, body)
    assert got == status
    assert answer["error"]
    assert await api.control("GET", "/state") == before


async def test_the_licence_binds_the_administrator_too(api: Api) -> None:
    await api.control("PUT", "/capacity", {"extensions": 3})
    status, _ = await api.try_control("POST", "/extensions", {"number": "1800"})
    assert status == 409


async def test_the_state_makes_a_round_trip(api: Api) -> None:
    await api.create("1500", presence_list=[{"status": "away", "ring_timeout": 5}], vm_pin="4711")
    await api.control("PATCH", "/extensions/1", {"owned_by_builtin_sync": True, "online": ["linkus_web"]})
    await api.firmware(busy="writes", plus_addresses=True)
    await api.control("PUT", "/settings", {"organizations": {"1": "Sales"}, "number_ranges": [[1, 5]]})
    await api.post("/extension_status_monitor/update", {"ext_monitor_list": [{"ext_id": 1, "enb_call_status": 1}]})
    await api.control(
        "PUT", "/webhooks", {"webhooks": [{"url": "https://localhost/", "secret": "x" * 32}], "drop": True}
    )
    await api.get_token(client_secret="wrong")
    saved = await api.control("GET", "/state")
    await api.control("POST", "/reset")
    assert await api.control("GET", "/state") != saved
    await api.control("PUT", "/state", saved)
    assert await api.control("GET", "/state") == saved
    assert await api.errcode("GET", "/extension/list") == 0, "the token is part of the content"


async def test_a_state_may_bring_extensions_alone(api: Api) -> None:
    await api.control("PUT", "/state", {"extensions": [{"number": "7"}]})
    state = await api.control("GET", "/state")
    assert [extension["number"] for extension in state["extensions"]] == ["7"]
    assert state["application"]["client_id"] == CLIENT_ID


async def test_a_reset_brings_back_the_start(api: Api) -> None:
    at_start = await api.control("GET", "/state")
    await api.create("1500")
    await api.get("/extension/delete", id=1)
    await api.get("/extension/list", x=1)
    await api.firmware(write_outcome="in_progress")
    await api.create("1501")
    await api.control("PUT", "/application", {"client_secret": "other"})
    await api.control("POST", "/reset")
    await api.control("POST", "/clock", {"advance_seconds": 60})
    assert await api.control("GET", "/state") == {**at_start, "tokens": []}
    assert await api.violations() == []
    assert (await api.control("GET", "/tokens"))["history"] == []


@pytest.mark.parametrize("extension", [{"number": "x"}, {}, {"number": "1", "colour": "red"}], ids=str)
def test_extensions_at_start_have_to_make_sense(extension: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"number|colour"):
        PbxEmulator([extension], client_id="a", client_secret="b")


async def test_an_errcode_fault_answers_instead_of_working(api: Api) -> None:
    await api.fault("errcode", "/extension/create", options={"errcode": 70082})
    answer = await api.create("1500")
    assert answer == {"errcode": 70082, "errmsg": "OVERLOAD_TASK_RUNNING"}
    assert (await api.create("1500"))["errcode"] == 0


async def test_an_errcode_fault_may_bring_its_own_message(api: Api) -> None:
    await api.fault("errcode", options={"errcode": 12345, "errmsg": "ODD"})
    assert await api.get("/extension/list") == {"errcode": 12345, "errmsg": "ODD"}


async def test_an_errcode_after_commit_fault_hides_a_success(api: Api) -> None:
    await api.fault("errcode_after_commit", "/extension/create", options={"errcode": -1})
    assert (await api.create("1500"))["errcode"] == -1
    assert (await api.create("1500"))["errcode"] == 40003


@pytest.mark.parametrize(("kind", "errcode"), [("partial", 1), ("in_progress", 2)])
async def test_write_outcomes_can_hit_single_requests(api: Api, kind: str, errcode: int) -> None:
    await api.fault(kind, "/extension/update")
    assert (await api.update(1, title="A"))["errcode"] == errcode
    assert (await api.detail(1))["title"] == ""
    assert (await api.update(1, title="B"))["errcode"] == 0


@pytest.mark.parametrize("fault", [{"kind": "commit_then_hang", "seconds": 30}, {"kind": "commit_then_drop"}])
async def test_an_answer_may_be_lost_after_the_commit(api: Api, fault: dict[str, Any]) -> None:
    await api.fault(path="/extension/create", **fault)
    with pytest.raises((TimeoutError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        async with asyncio.timeout(0.3):
            await api.create("1500")
    assert (await api.get("/extension/search", search_value="1500"))["total_number"] == 1


async def test_an_unknown_fault_is_refused(api: Api) -> None:
    status, answer = await api.try_control("POST", "/faults", {"kind": "explode"})
    assert status == 400
    assert "errcode_after_commit" in answer["error"]


async def test_the_journal_has_every_request_even_those_that_meet_a_fault(
    journal: Path, certificate: ServerCertificate, trust: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(journal))
    emulator = PbxEmulator(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    async with await emulator.start(certificate), Api(emulator, trust) as api:
        await api.login()
        await api.fault("errcode", options={"errcode": 70082})
        await api.create("1500", first_name="Zoë")
        await api.get("/extension/list", page=1)
    records = read_journal(journal)
    assert [(record.method, record.path.rpartition("/")[2]) for record in records] == [
        ("POST", "get_token"),
        ("POST", "create"),
        ("GET", "list"),
    ]
    assert msgspec.json.decode(records[1].body)["first_name"] == "Zoë"
    assert records[2].query == {"access_token": api.token, "page": "1"}
    assert records[2].headers["User-Agent"] == "OpenAPI"


async def test_a_journal_is_appended_to(journal: Path, certificate: ServerCertificate, trust: Any) -> None:
    for _ in range(2):
        emulator = PbxEmulator(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, journal=journal)
        async with await emulator.start(certificate), Api(emulator, trust) as api:
            await api.login()
    assert len(read_journal(journal)) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_the_process_says_where_it_listens_and_ends_at_once(
    certificate: ServerCertificate, trust: Any, number: signal.Signals
) -> None:
    arguments = ["--certificate", str(certificate.certificate), "--key", str(certificate.key), "--capacity", "7"]
    program = "import sys; from local.pbx.cli import main; sys.exit(main(sys.argv[1:]))"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    assert line.startswith("Listening on https://localhost:")
    url = line.split()[-1]
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session,
        session.get(f"{url}/_control/capacity") as response,
    ):
        assert (await response.json())["extensions"] == 7
    started = time.perf_counter()
    process.send_signal(number)
    assert await process.wait() == 0
    assert time.perf_counter() - started < 1.5
    assert await process.stdout.read() == b""


def test_a_process_that_cannot_start_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "missing.pem")
    assert cli.main(["--certificate", missing, "--key", missing]) == 1
    assert "cannot start" in capsys.readouterr().err


def test_the_sample_extensions_are_loaded_on_demand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pbx_sample_for_test.py").write_text("def sample_extensions():\n    return [{'number': '1'}]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(cli, "SAMPLE_MODULE", "pbx_sample_for_test")
    assert list(cli._sample()) == [{"number": "1"}]
