"""Tokens, wrong credentials, blocked and unpermitted callers."""

import time

import pytest

from tests.pbx_emulator.api import CLIENT_ID, CLIENT_SECRET, Api, names


async def advance(api: Api, seconds: float) -> None:
    await api.control("POST", "/clock", {"advance_seconds": seconds})


async def test_a_token_pair_has_32_characters_and_the_documented_lifetimes(stranger: Api) -> None:
    answer = await stranger.get_token()
    assert (len(answer["access_token"]), len(answer["refresh_token"])) == (32, 32)
    assert (answer["access_token_expire_time"], answer["refresh_token_expire_time"]) == (1800, 86400)


async def test_an_access_token_dies_after_1800_seconds(api: Api) -> None:
    await advance(api, 1790)
    assert await api.errcode("GET", "/system/capacity") == 0
    await advance(api, 11)
    assert await api.errcode("GET", "/system/capacity") == 10004
    assert await api.violations() == []


@pytest.mark.parametrize("token", [None, "", "0" * 32], ids=["missing", "empty", "unknown"])
async def test_without_a_live_token_the_answer_is_10004(stranger: Api, token: str | None) -> None:
    stranger.token = token
    assert await stranger.errcode("GET", "/extension/list") == 10004


async def test_a_ninth_live_token_is_refused_until_one_is_deleted(api: Api) -> None:
    for _ in range(7):
        await api.get_token()
    assert (await api.get_token())["errcode"] == 60002
    assert (await api.control("GET", "/tokens"))["live"] == 8
    assert await api.errcode("GET", "/del_token") == 0
    assert await api.errcode("GET", "/del_token") == 10004
    assert (await api.get_token())["errcode"] == 0


async def test_expired_tokens_free_their_slots(api: Api) -> None:
    for _ in range(7):
        await api.get_token()
    await advance(api, 1801)
    assert (await api.get_token())["errcode"] == 0


async def test_a_refresh_renews_both_tokens_and_kills_the_old_pair(stranger: Api) -> None:
    old = await stranger.get_token()
    new = await stranger.post("/refresh_token", {"refresh_token": old["refresh_token"]})
    assert {old["access_token"], old["refresh_token"]}.isdisjoint({new["access_token"], new["refresh_token"]})
    assert await stranger.errcode("GET", "/system/capacity", {"access_token": old["access_token"]}) == 10004
    assert await stranger.errcode("GET", "/system/capacity", {"access_token": new["access_token"]}) == 0
    again = await stranger.post("/refresh_token", {"refresh_token": old["refresh_token"]})
    assert again["errcode"] == 10004


async def test_a_refresh_token_outlives_its_access_token_by_a_day(stranger: Api) -> None:
    pair = await stranger.get_token()
    await advance(stranger, 86_390)
    pair = await stranger.post("/refresh_token", {"refresh_token": pair["refresh_token"]})
    assert pair["errcode"] == 0
    await advance(stranger, 86_401)
    assert (await stranger.post("/refresh_token", {"refresh_token": pair["refresh_token"]}))["errcode"] == 10004


async def test_a_refresh_of_an_expired_pair_needs_a_free_slot_and_keeps_the_pair(stranger: Api) -> None:
    pair = await stranger.get_token()
    await advance(stranger, 1801)
    others = [await stranger.get_token() for _ in range(8)]
    body = {"refresh_token": pair["refresh_token"]}
    assert (await stranger.post("/refresh_token", body))["errcode"] == 60002
    await stranger.get("/del_token", access_token=others[0]["access_token"])
    assert (await stranger.post("/refresh_token", body))["errcode"] == 0


async def test_get_token_takes_no_further_members(stranger: Api) -> None:
    body = {"username": CLIENT_ID, "password": CLIENT_SECRET, "version": "1"}
    answer = await stranger.post("/get_token", body)
    assert (answer["errcode"], names(answer)) == (40001, ["version"])
    assert await stranger.violations() == [("member", "version")]


@pytest.mark.parametrize("errcode", [1, -1])
async def test_wrong_credentials_answer_the_errcode_of_the_firmware(stranger: Api, errcode: int) -> None:
    await stranger.firmware(wrong_credentials_errcode=errcode)
    answer = await stranger.get_token(client_secret="wrong")
    assert (answer["errcode"], answer["errmsg"]) == (errcode, "FAILURE")
    assert "access_token" not in answer


async def test_five_wrong_credentials_block_the_caller_everywhere_for_a_while(api: Api) -> None:
    for _ in range(5):
        assert (await api.get_token(client_secret="wrong"))["errcode"] == 1
    blocked = await api.get_token()
    assert (blocked["errcode"], blocked["errmsg"]) == (70004, "ACCOUNT IP BLOCKED")
    assert blocked["block_expire_time"] == pytest.approx(time.time() + 660, abs=5)
    assert await api.errcode("GET", "/extension/list") == 70004
    assert await api.errcode("GET", "/nowhere") == 70004
    await advance(api, 661)
    assert (await api.get_token())["errcode"] == 0


async def test_a_success_forgives_earlier_failures(stranger: Api) -> None:
    for _ in range(2):
        for _ in range(4):
            await stranger.get_token(client_id="wrong")
        assert (await stranger.get_token())["errcode"] == 0


async def test_expired_tokens_are_no_failed_authentication(stranger: Api) -> None:
    stranger.token = "0" * 32
    for _ in range(6):
        await stranger.get("/system/capacity")
        await stranger.post("/refresh_token", {"refresh_token": "0" * 32}, access_token=None)
    assert (await stranger.get_token())["errcode"] == 0


async def test_an_administrator_lifts_a_block(stranger: Api) -> None:
    for _ in range(5):
        await stranger.get_token(client_secret="wrong")
    assert list((await stranger.control("GET", "/blocked"))["blocked_until"]) == ["127.0.0.1"]
    await stranger.control("DELETE", "/blocked")
    assert (await stranger.get_token())["errcode"] == 0


async def test_callers_outside_the_permitted_addresses_are_refused(api: Api) -> None:
    await api.control("PUT", "/application", {"permitted_ips": ["192.0.2.0/24"]})
    assert (await api.get_token())["errcode"] == 70087
    assert await api.errcode("GET", "/system/capacity") == 70087
    await api.control("PUT", "/application", {"permitted_ips": ["192.0.2.0/24", "127.0.0.1"]})
    assert await api.errcode("GET", "/system/capacity") == 0


async def test_a_switched_off_api_answers_70123(api: Api) -> None:
    await api.control("PUT", "/application", {"enabled": False})
    assert (await api.get_token())["errcode"] == 70123
    assert await api.errcode("GET", "/system/capacity") == 70123


async def test_a_new_client_secret_counts_at_once(stranger: Api) -> None:
    await stranger.control("PUT", "/application", {"client_secret": "renewed"})
    assert (await stranger.get_token())["errcode"] == 1
    assert (await stranger.get_token(client_secret="renewed"))["errcode"] == 0


async def test_the_history_tells_what_became_of_each_request_for_a_token(api: Api) -> None:
    await api.get_token(client_secret="wrong")
    await api.get("/del_token")
    history = (await api.control("GET", "/tokens"))["history"]
    assert [(issue["kind"], issue["outcome"], issue["live"]) for issue in history] == [
        ("get_token", "issued", 1),
        ("get_token", "wrong_credentials", 1),
        ("del_token", "revoked", 0),
    ]


async def test_an_administrator_revokes_all_tokens(api: Api) -> None:
    await api.control("DELETE", "/tokens")
    assert await api.errcode("GET", "/system/capacity") == 10004
