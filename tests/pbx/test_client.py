"""Reading and writing extensions and groups: what is repeated, what is not, and what every answer means."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from local.emulator import Fault
from local.pbx.directory import Extension
from pbx import client
from pbx.client import Pbx
from pbx.errors import (
    ApiDisabled,
    Blocked,
    Busy,
    Conflict,
    FeatureMissing,
    LimitReached,
    NotFound,
    OutcomeUnknown,
    PbxError,
    Refused,
    Retry,
    ServerFault,
    StillReferenced,
    Unreachable,
)
from pbx.groups import ExtensionGroups, GroupMember
from pbx.models import Capacity
from tests.pbx.support import Office, new

# Reading


async def test_the_pbx_says_what_it_is_and_how_much_it_takes(office: Office) -> None:
    pbx = office.client()
    information = await pbx.information()
    assert (information.model_name, information.firmware_version) == ("Yeastar P570", "37.24.0.30")
    assert await pbx.capacity() == Capacity(extension_capacity=500, extension_used=3)


@pytest.mark.parametrize("errcode", [10001, 70123])
async def test_a_p520_is_refused_because_it_has_no_api(office: Office, errcode: int) -> None:
    office.firmware(model="P520", no_api_errcode=errcode)
    for _ in range(3):
        with pytest.raises(ApiDisabled):
            await office.client().information()
    assert office.sent() == ["get_token"]


async def test_a_p520_that_answers_all_the_same_is_refused_by_its_name(office: Office) -> None:
    office.firmware(model="P520x")
    with pytest.raises(ApiDisabled, match="P520"):
        await office.client().information()


async def test_every_extension_is_listed_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE_SIZE", 2)
    rows = await office.client().extensions()
    assert [(row.id, row.number, row.email_addr) for row in rows] == [
        (1, "1000", "ada@example.com"), (2, "1001", "bob@example.com"), (7, "10", ""),
    ]  # fmt: skip
    assert len(office.sent("extension/list")) == 2


async def test_an_empty_pbx_lists_nothing(office: Office) -> None:
    for number in (1, 2, 7):
        office.emulator.machine.directory.remove(number)
    assert await office.client().extensions() == []


def add(office: Office, count: int) -> None:
    for index in range(count):
        office.emulator.machine.directory.add(Extension(number=f"{5000 + index}"))


async def test_a_pbx_that_gives_shorter_pages_than_asked_for_is_read_to_the_end(office: Office) -> None:
    add(office, 20)
    office.firmware(max_page_size=4, page_size_overflow="clamp")
    assert len(await office.client().extensions()) == 23


async def test_a_list_without_a_total_is_read_until_nothing_new_comes(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAGE_SIZE", 2)
    add(office, 4)
    strip(monkeypatch, lambda answer: answer.pop("total_number", None))
    assert len(await office.client().extensions()) == 7


async def test_a_pbx_that_repeats_its_first_page_for_ever_is_no_endless_loop(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAGE_SIZE", 2)
    row = {"id": 1, "number": "1000"}
    strip(monkeypatch, lambda answer: answer.update({"total_number": 3, "data": [row]}) if "data" in answer else None)
    with pytest.raises(ServerFault, match="keeps changing"):
        await office.client().extensions()


async def test_a_list_that_changes_while_it_is_read_is_read_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion between two pages moves a row out of sight; a count alone would not notice."""
    monkeypatch.setattr(client, "PAGE_SIZE", 4)
    add(office, 5)

    def shrink(answer: dict[str, Any]) -> None:
        if len(office.sent("extension/list")) == 1 and "data" in answer:
            office.emulator.machine.directory.remove(1)

    strip(monkeypatch, shrink)
    rows = await office.client().extensions()
    assert sorted(row.number for row in rows) == office.numbers()
    assert len(rows) == 7


async def test_a_list_that_never_keeps_still_decides_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE_SIZE", 2)

    def grow(answer: dict[str, Any]) -> None:
        if "data" in answer:
            add(office, 1) if not office.sent("extension/list")[1:] else office.emulator.machine.directory.add(
                Extension(number=f"{7000 + len(office.sent())}")
            )

    strip(monkeypatch, grow)
    with pytest.raises(ServerFault):
        await office.client().extensions()


def strip(monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], object]) -> None:
    """Have ``change`` alter every answer before it is sent."""
    from local.pbx import dispatch

    original = dispatch.Dispatcher.answer

    def altered(self: dispatch.Dispatcher, request: Any, outcome: Any = None) -> dict[str, Any]:
        answer = original(self, request, outcome)
        change(answer)
        return answer

    monkeypatch.setattr(dispatch.Dispatcher, "answer", altered)


async def test_an_extension_is_found_by_the_whole_of_its_number_and_address(office: Office) -> None:
    pbx = office.client()
    found = [await pbx.find_by_number("10"), await pbx.find_by_email("ADA@Example.com")]
    assert [row and row.id for row in found] == [7, 1]
    assert await pbx.find_by_number("100") is None
    assert await pbx.find_by_email("example.com") is None


async def test_an_address_is_found_where_rows_do_not_show_it(office: Office) -> None:
    office.firmware(rows_without_email=True)
    row = await office.client().find_by_email("bob@example.com")
    assert row is not None
    assert row.id == 2


async def test_details_leave_out_what_is_gone(office: Office) -> None:
    pbx = office.client()
    found = await pbx.details([1, 99, 7, 1])
    assert [one.id for one in found] == [1, 7]
    assert found[0].fields() == {
        "first_name": "Ada", "last_name": "", "email_addr": "ada@example.com", "mobile_number": "", "title": "Countess",
    }  # fmt: skip
    assert await pbx.details([98, 99]) == []
    assert await pbx.details([]) == []


async def test_details_come_in_batches_however_few_ids_the_pbx_takes(office: Office) -> None:
    add(office, 110)
    ids = [extension.id for extension in office.emulator.machine.directory]
    pbx = office.client()
    assert [one.id for one in await pbx.details(ids)] == ids
    assert len(office.sent("extension/query")) == 3
    office.firmware(max_query_ids=30)
    assert [one.id for one in await pbx.details(ids)] == ids


async def test_one_missing_id_that_fails_its_batch_does_not_hide_the_others(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.fault("errcode", "extension/query", times=None, query={"ids": "*99*"}, options={"errcode": 60001})
    found = await office.client().details([1, 99, 2, 7])
    assert sorted(one.id for one in found) == [1, 2, 7]


# Writing


def groups(pbx: Pbx) -> ExtensionGroups:
    """The groups of a PBX whose spelling of the paths is known already."""
    made = ExtensionGroups(pbx)
    made._spelling = "extensiongroup"
    return made


async def test_an_extension_is_created_updated_and_deleted(office: Office) -> None:
    pbx = office.client()
    made = await pbx.create_extension(new("2000", first_name="Dan", title=""))
    await pbx.update_extension(made, {"title": "Driver", "first_name": ""})
    (stored,) = await pbx.details([made])
    assert (stored.number, stored.first_name, stored.title) == ("2000", "", "Driver")
    await pbx.delete_extension(made)
    assert await pbx.details([made]) == []
    assert (pbx.writes, pbx.requests) == (3, len(office.sent()))


async def test_firmware_that_answers_no_id_is_asked_for_it(office: Office) -> None:
    office.firmware(create_returns_id=False)
    made = await office.client().create_extension(new("2000"))
    assert office.emulator.machine.directory.get(made) is not None


@pytest.mark.parametrize("errcode", [70082, 60001, 70004])
async def test_a_create_whose_id_cannot_be_read_may_have_happened(office: Office, errcode: int) -> None:
    office.firmware(create_returns_id=False)
    office.errcode(errcode, "extension/search", times=None)
    with pytest.raises(OutcomeUnknown):
        await office.client().create_extension(new("2000"))
    assert "2000" in office.numbers()


async def test_deleting_what_is_gone_is_a_success(office: Office) -> None:
    await office.client().delete_extension(99)


async def test_a_welcome_email_is_sent_by_the_pbx(office: Office) -> None:
    await office.client().send_welcome_email(1)
    assert [mail.recipients for mail in office.emulator.machine.emails] == [("ada@example.com",)]
    with pytest.raises(Refused):
        await office.client().send_welcome_email(7)


WRITES: dict[str, Callable[[Pbx], Awaitable[Any]]] = {
    "extension/create": lambda pbx: pbx.create_extension(new("2000")),
    "extension/update": lambda pbx: pbx.update_extension(1, {"title": "x"}),
    "extension/delete": lambda pbx: pbx.delete_extension(1),
    "extension/send_welcome_email": lambda pbx: pbx.send_welcome_email(1),
    "extensiongroup/create": lambda pbx: groups(pbx).create("Sales", [1]),
    "extensiongroup/update": lambda pbx: groups(pbx).update(2, members=[GroupMember(1)]),
    "extensiongroup/delete": lambda pbx: groups(pbx).delete(2),
}
READS: dict[str, Callable[[Pbx], Awaitable[Any]]] = {
    "system/information": lambda pbx: pbx.information(),
    "system/capacity": lambda pbx: pbx.capacity(),
    "extension/list": lambda pbx: pbx.extensions(),
    "extension/search": lambda pbx: pbx.find_by_number("1000"),
    "extension/query": lambda pbx: pbx.details([1]),
    "extensiongroup/list": lambda pbx: groups(pbx).all(),
    "extensiongroup/query": lambda pbx: groups(pbx).details([1]),
}
LOST: dict[str, dict[str, Any]] = {
    "dropped": {"kind": "drop"},
    "dropped after commit": {"kind": "commit_then_drop"},
    "timed out after commit": {"kind": "commit_then_hang", "seconds": 5},
    "cut off": {"kind": "truncate", "bytes": 5},
    "502 of the tunnel": {"kind": "status", "status": 502, "body": "<html>Bad Gateway</html>"},
    "a page of another server": {"kind": "status", "status": 200, "body": "<html>Login</html>"},
    "nothing": {"kind": "status", "status": 200, "body": ""},
    "no errcode": {"kind": "status", "status": 200, "body": {"ok": True}},
    "a list": {"kind": "status", "status": 200, "body": [1]},
    "a success of an unknown shape": {"kind": "status", "status": 200, "body": {"errcode": 0, "id": {}, "data": 5}},
    "a redirect": {"kind": "status", "status": 307, "headers": {"Location": "https://localhost:1/"}},
    "still processing": {"kind": "errcode", "options": {"errcode": 2}},
    "partial success": {"kind": "errcode", "options": {"errcode": 1}},
}


@pytest.mark.parametrize(
    ("path", "lost"),
    # All but create read nothing of a success but its errcode.
    [(path, lost) for path in WRITES for lost in LOST if "unknown shape" not in lost or path.endswith("/create")],
)
async def test_a_write_whose_answer_is_lost_is_unknown_and_never_repeated(office: Office, path: str, lost: str) -> None:
    pbx = office.client(timeout=0.2 if "timed" in lost else 5)
    await pbx.capacity()
    office.fault(path=path, times=None, **LOST[lost])
    with pytest.raises(OutcomeUnknown):
        await WRITES[path](pbx)
    assert len(office.sent(path)) == 1


@pytest.mark.parametrize("path", ["system/capacity", "extension/list"])
@pytest.mark.parametrize("lost", [lost for lost in LOST if "unknown shape" not in lost])
async def test_a_read_whose_answer_is_lost_is_repeated(office: Office, path: str, lost: str) -> None:
    pbx = office.client(timeout=0.2 if "timed" in lost else 5)
    fault = office.fault(path=path, times=2, **LOST[lost])
    await READS[path](pbx)
    assert fault.hits == 2


@pytest.mark.parametrize("path", READS)
async def test_a_read_that_stays_unanswered_gives_up_after_four_tries(office: Office, path: str) -> None:
    office.fault("drop", path, times=None)
    with pytest.raises(Retry):
        await READS[path](office.client())
    assert len(office.sent(path)) == 4


@pytest.mark.parametrize("path", WRITES | READS)
async def test_a_busy_pbx_is_asked_again_and_then_left_alone(office: Office, path: str) -> None:
    pbx = office.client()
    office.errcode(70082, path, times=2)
    if not path.endswith("/delete"):
        await (WRITES | READS)[path](pbx)
    office.errcode(70082, path, times=None)
    with pytest.raises(Busy):
        await (WRITES | READS)[path](pbx)
    tries = len(office.sent(path))
    assert tries == (1 if path.endswith("/delete") else 3 + 4)


@pytest.mark.parametrize("path", WRITES | READS)
async def test_only_what_surely_was_not_sent_is_repeated_when_no_connection_is_made(
    office: Office, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pbx = office.client()
    await pbx.capacity()
    tries = 0
    original = Pbx._send

    async def refused(self: Pbx, call: Any) -> tuple[int, bytes]:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Unreachable("no connection")
        return await original(self, call)

    monkeypatch.setattr(Pbx, "_send", refused)
    if path.endswith("/delete"):
        with pytest.raises(Unreachable):
            await WRITES[path](pbx)
        assert tries == 1
    else:
        await (WRITES | READS)[path](pbx)
    assert len([one for one in office.sent(path) if one != "system/capacity"]) <= 1


ERRCODES: list[tuple[int, type[PbxError]]] = [
    (-1, Refused), (10001, FeatureMissing), (10005, FeatureMissing), (10009, FeatureMissing), (40001, Refused),
    (40002, Refused), (40003, Conflict), (60002, LimitReached), (60101, Refused), (70004, Blocked), (70084, Refused),
    (70087, Blocked), (70091, StillReferenced), (70120, FeatureMissing), (70123, ApiDisabled), (12345, Refused),
]  # fmt: skip


@pytest.mark.parametrize(("errcode", "kind"), ERRCODES)
async def test_an_errcode_means_what_the_caller_has_to_do_and_is_not_repeated(
    office: Office, errcode: int, kind: type[PbxError]
) -> None:
    pbx = office.client()
    office.errcode(errcode, "extension/update", times=None)
    with pytest.raises(kind, match=f"errcode {errcode}") as caught:
        await pbx.update_extension(1, {"title": "x"})
    assert caught.value.errcode == errcode
    assert len(office.sent("extension/update")) == 1
    assert len(office.sent("get_token")) == 1


@pytest.mark.parametrize("invalid", [[{"name": "user_password", "value": "private"}], None, "private", [5], {}])
async def test_the_pbx_names_what_it_does_not_take_and_its_value_is_left_out(office: Office, invalid: Any) -> None:
    body = {"errcode": 40002, "errmsg": "PARAMETER ERROR", "invalid_param_list": invalid}
    office.fault("status", "extension/update", status=200, body=body)
    with pytest.raises(Refused) as caught:
        await office.client().update_extension(1, {"title": "x"})
    assert ("user_password" in str(caught.value)) == ("user_password" in str(invalid))
    assert "private" not in str(caught.value)


async def test_an_update_of_what_is_gone_is_not_found(office: Office) -> None:
    with pytest.raises(NotFound):
        await office.client().update_extension(99, {"title": "x"})


async def test_a_taken_number_is_a_conflict_and_a_full_pbx_a_limit(office: Office) -> None:
    pbx = office.client()
    with pytest.raises(Conflict):
        await pbx.create_extension(new("1000"))
    office.emulator.machine.capacity = type(office.emulator.machine.capacity)(extensions=3)
    with pytest.raises(LimitReached):
        await pbx.create_extension(new("2000"))


@pytest.mark.parametrize("path", WRITES | READS)
async def test_an_error_may_leave_an_empty_payload_in_its_answer(office: Office, path: str) -> None:
    office.fault("status", path, times=None, status=200, body={"errcode": 40002, "errmsg": "X", "data": "", "id": ""})
    with pytest.raises(Refused):
        await (WRITES | READS)[path](office.client())


@pytest.mark.parametrize(
    "body",
    [
        {"errcode": "0", "errmsg": "SUCCESS", "total_number": "1", "data": [{"id": "1", "number": "1000"}]},
        {"errcode": 0, "total_number": None, "data": [{"id": 1, "number": "1000", "email_addr": None}]},
        {"errcode": 0, "errmsg": "", "data": [{"id": 1, "number": "1000", "more": {"x": [1]}}], "more": 1},
    ],
    ids=["numbers as texts", "nulls", "more members"],
)
async def test_an_answer_may_differ_in_ways_that_do_no_harm(office: Office, body: dict[str, Any]) -> None:
    office.fault("status", "extension/list", times=None, status=200, body=body)
    rows = await office.client().extensions()
    assert [(row.id, row.number) for row in rows] == [(1, "1000")]


@pytest.mark.parametrize("path", ["extension/list", "extension/query", "extensiongroup/list", "extensiongroup/query"])
async def test_a_list_that_is_null_holds_nothing(office: Office, path: str) -> None:
    office.fault("status", path, times=None, status=200, body={"errcode": 0, "total_number": 0, "data": None})
    assert await READS[path](office.client()) == []


async def test_an_answer_that_is_no_utf8_or_far_too_deep_is_a_fault(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    pbx = office.client()
    await pbx.capacity()
    for raw in (b'{"errcode": 0, "errmsg": "\xff"}', b'{"errcode":0,"data":' + b"[" * 200_000, b"\x1f\x8b\x00"):

        async def answer(_: Pbx, __: Any, raw: bytes = raw) -> tuple[int, bytes]:
            return 200, raw

        monkeypatch.setattr(Pbx, "_send", answer)
        with pytest.raises(ServerFault):
            await pbx.capacity()


async def test_another_web_server_is_told_apart(office: Office) -> None:
    office.fault("status", "get_token", times=None, status=404, body="<html>Not Found</html>")
    with pytest.raises(FeatureMissing, match="404"):
        await office.client().capacity()
    assert len(office.sent()) == 1


# At once


async def test_writes_go_one_at_a_time_and_reads_two_at_a_time(office: Office) -> None:
    under_way = {"reads": 0, "writes": 0}
    most = dict(under_way)
    pbx = office.client(max_writes_per_second=4)
    pbx.pacer = type(pbx.pacer)(1000)
    original = pbx._send

    async def counted(call: Any) -> tuple[int, bytes]:
        kind = "writes" if call.lost is OutcomeUnknown else "reads"
        under_way[kind] += 1
        most[kind] = max(most[kind], under_way[kind])
        try:
            return await original(call)
        finally:
            under_way[kind] -= 1

    pbx._send = counted  # type: ignore[method-assign]
    await pbx.capacity()
    await asyncio.gather(
        *(pbx.update_extension(1, {"title": f"{index}"}) for index in range(6)),
        *(pbx.delete_extension(90 + index) for index in range(3)),
        *(pbx.capacity() for _ in range(6)),
    )
    assert most == {"reads": 2, "writes": 1}


async def test_every_request_names_itself_and_ends_its_connection(office: Office) -> None:
    pbx = office.client()
    for call in [
        *READS.values(),
        *(WRITES[path] for path in sorted(WRITES, key=lambda path: path.endswith("/delete"))),
    ]:
        await call(pbx)
    assert len(office.emulator.requests) >= 10
    for record in office.emulator.requests:
        assert record.headers["User-Agent"] == "entra-bridge"
        assert "Authorization" not in record.headers
        assert "Cookie" not in record.headers


async def test_a_request_before_signing_in_is_a_bug(office: Office) -> None:
    async with Pbx(office.client()._address) as pbx:
        with pytest.raises(RuntimeError, match="sign_in_with"):
            await pbx.capacity()


async def test_a_client_can_be_used_after_it_was_closed(office: Office) -> None:
    pbx = office.client()
    await pbx.capacity()
    await pbx.close()
    await pbx.capacity()


async def test_a_redirect_takes_no_token_or_password_anywhere(office: Office) -> None:
    pbx = office.client()
    target = f"{office.emulator.url}/elsewhere"
    office.emulator.faults.append(
        Fault(kind="status", path="/openapi/*", times=None, status=307, headers={"Location": target})
    )
    with pytest.raises(Retry, match="307"):
        await pbx.capacity()
    assert not any("elsewhere" in record.path for record in office.emulator.requests)
