"""The setup key: who may use it when, and how often it may be tried."""

import asyncio
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sso.account import access_token
from sso.errors import SignInNeeded
from sso.setup_key import (
    FAILURES_OF_ALL,
    FAILURES_OF_AN_ADDRESS,
    Refused,
    normal_address,
    seconds_to_wait,
    sign_in,
)
from store.sessions import Attempt
from tests.sso.site import KEY, LOOPBACK, NOOR, Site

NOW = datetime.datetime(2026, 3, 2, 9, 0, tzinfo=datetime.UTC)


async def tried(site: Site, key: str = "wrong", address: str = LOOPBACK) -> Refused | str:
    """The cookie, or the refusal."""
    outcome = await sign_in(site.place, key, address, site.now)
    return outcome if isinstance(outcome, Refused) else outcome[1]


async def fail(site: Site, times: int, address: str = LOOPBACK) -> None:
    for _ in range(times):
        outcome = await tried(site, "wrong", address)
        assert isinstance(outcome, Refused)
        assert outcome.retry_after is None


async def test_the_right_key_signs_an_administrator_in(site: Site) -> None:
    outcome = await sign_in(site.place, KEY, LOOPBACK, site.now)
    assert not isinstance(outcome, Refused)
    session, cookie = outcome
    assert (session.account, session.role) == ("setup-key", "admin")
    assert await site.open(cookie) == session


@pytest.mark.parametrize("key", ["", KEY[:-1], f"{KEY} ", KEY.upper(), "\ud800", "é"], ids=repr)
async def test_any_other_key_does_not(site: Site, key: str) -> None:
    outcome = await tried(site, key)
    assert isinstance(outcome, Refused)
    assert "not the setup key" in outcome.message
    assert KEY not in repr(outcome)


async def test_without_a_key_in_the_deployment_nobody_gets_in_and_hears_why(site: Site) -> None:
    site.place = site.process(setup_key="")
    outcome = await tried(site, "")
    assert isinstance(outcome, Refused)
    assert "SETUP_KEY" in outcome.action


@pytest.mark.parametrize("is_allowed", [True, False])
async def test_once_connected_the_settings_decide(site: Site, is_allowed: bool) -> None:
    await site.settings(console={"setup_key": is_allowed})
    assert isinstance(await tried(site, KEY), str), "nobody can sign in otherwise"
    await site.connect(NOOR)
    assert isinstance(await tried(site, KEY), str) == is_allowed


async def test_the_key_is_the_way_back_in_when_the_account_needs_to_sign_in(site: Site) -> None:
    await site.settings(console={"setup_key": False})
    await site.connect(NOOR)
    await site.client.control("POST", f"users/{NOOR}/revoke")
    with pytest.raises(SignInNeeded):
        await access_token(site.place, ["User.Read"], site.now)
    assert isinstance(await tried(site, KEY), str)


async def test_after_five_failures_an_address_waits_even_with_the_right_key(site: Site) -> None:
    await fail(site, FAILURES_OF_AN_ADDRESS)
    outcome = await tried(site, KEY)
    assert isinstance(outcome, Refused)
    assert outcome.retry_after is not None
    assert outcome.retry_after == 900
    assert "15 minutes" in outcome.action
    assert isinstance(await tried(site, KEY, "192.0.2.7"), str), "others do not wait"


async def test_the_wait_is_over_when_it_was_said_to_be(site: Site) -> None:
    await fail(site, FAILURES_OF_AN_ADDRESS)
    outcome = await tried(site)
    assert isinstance(outcome, Refused)
    assert outcome.retry_after is not None
    site.later(seconds=outcome.retry_after)
    assert isinstance(await tried(site, KEY), str)


async def test_being_refused_does_not_make_the_wait_longer(site: Site) -> None:
    await fail(site, FAILURES_OF_AN_ADDRESS)
    site.later(minutes=14)
    for _ in range(5):
        assert isinstance(await tried(site, KEY), Refused)
    site.later(minutes=1, seconds=1)
    assert isinstance(await tried(site, KEY), str)


async def test_twenty_failures_from_anywhere_make_everybody_wait(site: Site) -> None:
    for index in range(FAILURES_OF_ALL):
        await fail(site, 1, f"192.0.2.{index}")
    outcome = await tried(site, KEY, "198.51.100.1")
    assert isinstance(outcome, Refused)
    assert outcome.retry_after


async def test_many_attempts_at_once_get_no_more_tries(site: Site) -> None:
    places = [site.process() for _ in range(3)]
    outcomes = await asyncio.gather(*(sign_in(places[n % 3], f"guess {n}", LOOPBACK, site.now) for n in range(30)))
    looked_at = [outcome for outcome in outcomes if isinstance(outcome, Refused) and outcome.retry_after is None]
    assert len(looked_at) <= FAILURES_OF_AN_ADDRESS


async def test_signing_in_is_no_failure(site: Site) -> None:
    for _ in range(FAILURES_OF_AN_ADDRESS + 2):
        assert isinstance(await tried(site, KEY), str)


async def test_old_attempts_are_forgotten(site: Site) -> None:
    await fail(site, 3)
    site.later(minutes=16)
    await fail(site, 1)
    rows = [row async for row in site.place.tables.query("sessions", f"{site.connection}-attempts")]
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]:443", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", "unknown"),
        ("; drop", "unknown"),
    ],
)
def test_addresses_are_told_apart_by_who_has_them(text: str, address: str) -> None:
    assert normal_address(text) == address


@given(st.text())
def test_whatever_the_address_is_it_can_be_recorded(text: str) -> None:
    assert len(normal_address(text)) < 50


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 899)), max_size=40))
def test_after_the_wait_the_next_attempt_is_looked_at(seen: list[tuple[str, int]]) -> None:
    attempts = [
        Attempt(str(index), address, NOW - datetime.timedelta(seconds=ago)) for index, (address, ago) in enumerate(seen)
    ]
    wait = seconds_to_wait(attempts, "a", NOW)
    own = sum(address == "a" for address, _ in seen)
    assert (wait > 0) == (own >= FAILURES_OF_AN_ADDRESS or len(seen) >= FAILURES_OF_ALL)
    after = NOW + datetime.timedelta(seconds=wait)
    assert seconds_to_wait(attempts, "a", after) == 0
