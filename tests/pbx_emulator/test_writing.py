"""extension/create, update, delete and send_welcome_email."""

from typing import Any

import pytest

from tests.pbx_emulator.api import REG_PASSWORD, USER_PASSWORD, Api, names, new_extension


async def test_a_created_extension_has_what_was_sent_and_an_id_that_is_never_used_again(api: Api) -> None:
    first = await api.create(
        "1500", first_name="Zoë", email_addr="zoe@example.com", mobile_number="+49(30)1", title="X"
    )
    assert (await api.detail(first["id"]))["first_name"] == "Zoë"
    await api.get("/extension/delete", id=first["id"])
    second = await api.create("1500")
    assert second["id"] > first["id"]


@pytest.mark.parametrize(
    "member",
    [
        "type",
        "number",
        "user_password",
        "reg_name",
        "reg_password",
        "concurrent_registrations",
        "presence_status",
    ],
)
async def test_a_create_needs_every_required_member(api: Api, member: str) -> None:
    answer = (
        await api.create("1500", **{member: None})
        if member != "number"
        else await api.post(
            "/extension/create", {name: value for name, value in new_extension().items() if name != "number"}
        )
    )
    assert (answer["errcode"], names(answer)) == (40001, [member])
    assert await api.violations() == [("value", member)]


async def test_undocumented_members_are_refused_by_name(api: Api) -> None:
    answer = await api.create("1500", job_title="X", phone="1")
    assert (answer["errcode"], names(answer)) == (40001, ["job_title", "phone"])
    assert await api.violations() == [("member", "job_title"), ("member", "phone")]


WRONG_VALUES: list[tuple[str, Any, int]] = [
    ("type", "FXS", 40002),
    ("number", "", 40002),
    ("number", "12345678", 40002),
    ("number", "10a", 40002),
    ("number", "١٢٣", 40002),
    ("number", 1500, 40001),
    ("first_name", "x" * 64, 40002),
    ("first_name", ["x"], 40001),
    ("last_name", "x" * 64, 40002),
    ("email_addr", "ada+phone@example.org", 40002),
    ("email_addr", "ädä@example.org", 40002),
    ("email_addr", "nobody", 40002),
    ("email_addr", "a@example.org\n", 40002),
    ("email_addr", "a" * 250 + "@b.org", 40002),
    ("mobile_number", "+49 69 123", 40002),
    ("mobile_number", "1" * 32, 40002),
    ("title", "x" * 64, 40002),
    ("caller_id", "a b", 40002),
    ("reg_name", "", 40002),
    ("reg_name", "x" * 64, 40002),
    ("concurrent_registrations", 4, 40002),
    ("concurrent_registrations", "1", 40001),
    ("concurrent_registrations", True, 40001),
    ("presence_status", "busy", 40002),
    ("presence_status", "launch", 40002),
    ("role_id", "1", 40001),
    ("email_language", "nl", 40002),
    ("enb_vm", 2, 40002),
    ("vm_pin", "12a4", 40002),
    ("presence_list", {}, 40001),
]


@pytest.mark.parametrize(("member", "value", "errcode"), WRONG_VALUES)
async def test_a_wrong_value_is_refused_by_name_on_create(api: Api, member: str, value: Any, errcode: int) -> None:
    answer = await api.post("/extension/create", {**new_extension("1500"), member: value})
    assert (answer["errcode"], names(answer)) == (errcode, [member])


@pytest.mark.parametrize(
    ("member", "value", "errcode"), [case for case in WRONG_VALUES if case[0] not in {"type", "number"}]
)
async def test_a_wrong_value_changes_nothing_on_update(api: Api, member: str, value: Any, errcode: int) -> None:
    before = await api.detail(1)
    answer = await api.update(1, **{"last_name": "Byron", member: value})
    assert (answer["errcode"], names(answer)) == (errcode, [member])
    assert await api.detail(1) == before


async def test_presence_settings_are_checked_inside(api: Api) -> None:
    entries = [{"status": "away", "ring_timeout": 10}, {"enb_ring_mobile": 2}, {"status": "lunch", "color": "red"}]
    answer = await api.create("1500", presence_list=entries)
    assert answer["errcode"] == 40001
    assert names(answer) == ["presence_list[1].status", "presence_list[2].color"]


async def test_presence_settings_replace_those_of_the_same_status(api: Api) -> None:
    await api.update(1, presence_list=[{"status": "away", "ring_timeout": 10}])
    await api.update(1, presence_list=[{"status": "away", "enb_ring_mobile": 1}])
    settings = {setting["status"]: setting for setting in (await api.detail(1))["presence_list"]}
    assert (settings["away"]["ring_timeout"], settings["away"]["enb_ring_mobile"]) == (10, 1)
    assert settings["lunch"]["ring_timeout"] == 30
    assert len(settings) == 6


@pytest.mark.parametrize("member", ["user_password", "reg_password"])
@pytest.mark.parametrize(
    "password",
    [
        "Quiet1234Harbor",
        "Quiet4321Harbor",
        "Quiet7777Harbor",
        "Quiet1500Harbor",
        "Quiet7EVEHarbor",
        "Quiet7stoneHarbor",
    ],
    ids=["ascending", "descending", "equal", "number", "first name", "last name"],
)
async def test_newer_firmware_refuses_weak_passwords(api: Api, member: str, password: str) -> None:
    who = {"first_name": "Eve", "last_name": "Stone"}
    answer = await api.create("1500", **who, **{member: password})
    assert (answer["errcode"], answer["invalid_param_list"]) == (40002, [{"value": "", "name": member}])
    await api.firmware(new_password_rules=False)
    assert (await api.create("1500", **who, **{member: password}))["errcode"] == 0


@pytest.mark.parametrize(
    "password", ["Short7Abc", "x" * 60 + "Ab12", "nouppercase7here", "NOLOWERCASE7HERE", "NoDigitInThisOne"]
)
@pytest.mark.parametrize("newer", [True, False])
async def test_every_firmware_refuses_badly_composed_user_passwords(api: Api, password: str, newer: bool) -> None:
    await api.firmware(new_password_rules=newer)
    answer = await api.create("1500", user_password=password)
    assert (answer["errcode"], names(answer)) == (40002, ["user_password"])
    assert password not in str(answer)


async def test_older_firmware_asks_only_for_8_characters_of_a_registration_password(api: Api) -> None:
    await api.firmware(new_password_rules=False)
    assert (await api.create("1500", reg_password="7letter"))["errcode"] == 40002
    assert (await api.create("1500", reg_password="eight888"))["errcode"] == 0


async def test_a_password_is_checked_against_the_names_that_come_with_it(api: Api) -> None:
    assert (await api.update(1, user_password="Quiet7BostonHarbor", last_name="Boston"))["errcode"] == 40002
    assert (await api.update(1, user_password="Quiet7LovelaceHarbor", last_name="Boston"))["errcode"] == 0


async def test_passwords_can_be_inspected_through_the_state_only(api: Api) -> None:
    created = await api.create("1500")
    kept = await api.control("GET", f"/extensions/{created['id']}")
    assert kept["test_only_secrets"] == {
        "user_password": USER_PASSWORD,
        "reg_password": REG_PASSWORD,
        "vm_pin": "",
        "meets_newest_rules": True,
    }
    await api.firmware(new_password_rules=False)
    await api.update(created["id"], reg_password="eight888")
    assert (await api.control("GET", f"/extensions/{created['id']}"))["test_only_secrets"][
        "meets_newest_rules"
    ] is False


@pytest.mark.parametrize(
    ("member", "value"),
    [("number", "1000"), ("reg_name", "1000"), ("reg_name", "SIP1600"), ("email_addr", "ADA@Example.COM")],
)
async def test_duplicates_are_40003_letter_case_aside(api: Api, member: str, value: str) -> None:
    await api.create("1600")
    answer = await api.post("/extension/create", {**new_extension("1500"), member: value})
    assert (answer["errcode"], answer["errmsg"]) == (40003, "DUPLICATE KEY VALUE")
    assert names(answer) == [member]
    assert await api.violations() == []


async def test_all_duplicates_are_named_at_once(api: Api) -> None:
    answer = await api.create("1000", reg_name="1001", email_addr="ada@example.com")
    assert sorted(names(answer)) == ["email_addr", "number", "reg_name"]


async def test_no_email_is_no_duplicate(api: Api) -> None:
    assert (await api.create("1500", email_addr=""))["errcode"] == 0
    assert (await api.create("1501", email_addr=""))["errcode"] == 0


async def test_an_update_may_repeat_its_own_values_but_not_those_of_another(api: Api) -> None:
    assert (await api.update(1, email_addr="Ada@example.com", reg_name="1000"))["errcode"] == 0
    assert (await api.update(2, email_addr="ADA@example.com"))["errcode"] == 40003
    assert (await api.update(2, reg_name="1000"))["errcode"] == 40003


async def test_a_given_up_email_address_is_free_again(api: Api) -> None:
    await api.update(1, email_addr="")
    assert (await api.update(2, email_addr="ada@example.com"))["errcode"] == 0


async def test_members_left_out_stay_and_empty_ones_are_cleared(api: Api) -> None:
    await api.update(1, title="Countess", mobile_number="123")
    await api.update(1, mobile_number="", last_name="")
    detail = await api.detail(1)
    assert (detail["first_name"], detail["title"]) == ("Ada", "Countess")
    assert (detail["mobile_number"], detail["last_name"]) == ("", "")
    assert (await api.get("/extension/search", search_value="lovelace"))["total_number"] == 0


@pytest.mark.parametrize("member", ["number", "type"])
async def test_number_and_type_cannot_be_updated(api: Api, member: str) -> None:
    answer = await api.post("/extension/update", {"id": 1, member: "1999" if member == "number" else "SIP"})
    assert (answer["errcode"], names(answer)) == (40001, [member])


async def test_an_update_of_an_unknown_extension_is_60001(api: Api) -> None:
    assert (await api.update(99, first_name="x"))["errcode"] == 60001
    assert names(await api.post("/extension/update", {"first_name": "x"})) == ["id"]


async def test_setting_a_presence_ends_a_custom_one(api: Api) -> None:
    await api.control("PATCH", "/extensions/1", {"custom_presence_status": "Gone fishing"})
    row = (await api.get("/extension/search", search_value="1000"))["data"][0]
    assert row["custom_presence_status"] == "Gone fishing"
    await api.update(1, presence_status="off_work")
    row = (await api.get("/extension/search", search_value="1000"))["data"][0]
    assert (row["presence_status"], row["custom_presence_status"]) == ("off_work", "")


async def test_a_full_licence_is_60002_until_an_extension_goes(api: Api) -> None:
    await api.control("PUT", "/capacity", {"extensions": 3})
    assert (await api.create("1500"))["errcode"] == 60002
    assert (await api.get("/system/capacity"))["data"]["extension_used"] == 3
    await api.get("/extension/delete", id=5)
    assert (await api.create("1500"))["errcode"] == 0


async def test_numbers_outside_the_ranges_are_40002_and_no_violation(api: Api) -> None:
    await api.control("PUT", "/settings", {"number_ranges": [[1000, 1999], [7000, 7000]]})
    answer = await api.create("2000")
    assert (answer["errcode"], names(answer)) == (40002, ["number"])
    assert (await api.create("7000"))["errcode"] == 0
    assert await api.violations() == []


@pytest.mark.parametrize("role", [99, -1])
async def test_an_unknown_role_is_60101(api: Api, role: int) -> None:
    assert (await api.create("1500", role_id=role))["errcode"] == 60101
    assert (await api.update(1, role_id=role))["errcode"] == 60101
    assert (await api.create("1500", role_id=0))["errcode"] == 0
    assert (await api.update(1, role_id=4))["errcode"] == 0


async def test_organisations_must_be_left_out_while_they_are_off(api: Api) -> None:
    assert (await api.create("1500", organization_list=[]))["errcode"] == 70120
    assert (await api.update(1, organization_list=[{"value": "1", "text": "Sales"}]))["errcode"] == 70120


async def test_organisations_are_mandatory_while_they_are_on(api: Api) -> None:
    await api.control("PUT", "/settings", {"organizations_enabled": True, "organizations": {"1": "Sales"}})
    sales = [{"value": "1", "text": "Sales"}]
    missing = await api.create("1500")
    assert (missing["errcode"], names(missing)) == (40001, ["organization_list"])
    assert (await api.create("1500", organization_list=[{"value": "9"}]))["errcode"] == 40002
    assert (await api.create("1500", organization_list=[]))["errcode"] == 40002
    created = await api.create("1500", organization_list=sales)
    assert (await api.detail(created["id"]))["organization_list"] == sales
    assert (await api.update(1, first_name="Augusta"))["errcode"] == 0


async def test_extensions_of_the_builtin_sync_are_locked(api: Api) -> None:
    await api.control("PATCH", "/extensions/1", {"owned_by_builtin_sync": True})
    assert (await api.update(1, presence_status="away"))["errcode"] == 70084
    assert (await api.get("/extension/delete", id=1))["errcode"] == 70084
    assert (await api.detail(1))["first_name"] == "Ada"


async def test_a_deleted_extension_is_gone_with_everything_it_occupied(api: Api) -> None:
    assert (await api.get("/extension/delete", id=1))["errcode"] == 0
    assert (await api.get("/extension/delete", id=1))["errcode"] == 60001
    assert (await api.get("/extension/get", id=1))["errcode"] == 60001
    assert (await api.create("1000", reg_name="1000", email_addr="ada@example.com"))["errcode"] == 0


async def test_welcome_mails_go_to_extensions_with_an_address(api: Api) -> None:
    answer = await api.post("/extension/send_welcome_email", {"id_list": [1]})
    assert answer["errcode"] == 0
    (email,) = await api.control("GET", "/emails")
    assert (email["kind"], email["extension_id"], email["recipients"]) == ("welcome", 1, ["ada@example.com"])


async def test_welcome_mails_that_could_not_be_sent_are_named(api: Api) -> None:
    answer = await api.post("/extension/send_welcome_email", {"id_list": [1, 2, 99]})
    assert (answer["errcode"], answer["errmsg"]) == (1, "PARTIAL SUCCESS")
    assert [entry["value"] for entry in answer["invalid_param_list"]] == ["2", "99"]
    assert len(await api.control("GET", "/emails")) == 1


@pytest.mark.parametrize(("ids", "errcode"), [([98, 99], 60001), ([2], -1), ([], 40002), (["1"], 40001)], ids=str)
async def test_welcome_mails_to_nobody_fail(api: Api, ids: list[Any], errcode: int) -> None:
    assert (await api.post("/extension/send_welcome_email", {"id_list": ids}))["errcode"] == errcode
    assert await api.control("GET", "/emails") == []


async def test_no_mail_leaves_while_the_mail_server_does_not_work(api: Api) -> None:
    await api.control("PUT", "/settings", {"mail_server_works": False})
    assert (await api.post("/extension/send_welcome_email", {"id_list": [1]}))["errcode"] == -1
