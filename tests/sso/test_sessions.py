"""Sessions: sealed, revocable, over after a working day, and never longer than their ground lasts."""

import asyncio
import base64
import datetime

import msgspec
import pytest
from cryptography.fernet import Fernet

from sso import sessions
from sso.account import forget_account
from sso.place import Place
from sso.sealing import open_sealed, seal
from sso.sessions import COOKIE, SETUP_KEY, end_all, end_session, open_session, start_session
from sso.signin import Completed
from store.sessions import SWEPT, UsedStates
from store.tokens import TokenStore
from tests.sso.site import KEY, MARA, NOOR, NOOR_ACCOUNT, Site


async def started(site: Site, account: str = NOOR_ACCOUNT, place: Place | None = None) -> tuple[sessions.Session, str]:
    return await start_session(place or site.place, "Noor", account, "admin", site.now)


async def test_a_cookie_opens_its_session_in_every_process(site: Site) -> None:
    session, cookie = await started(site)
    assert await site.open(cookie) == session
    assert await site.open(cookie, site.process()) == session


async def test_no_two_sessions_share_anything(site: Site) -> None:
    (one, first), (other, second) = await started(site), await started(site)
    assert first != second
    assert one.id != other.id
    assert one.csrf != other.csrf


async def test_a_session_is_over_after_eight_hours_however_much_it_was_used(site: Site) -> None:
    _, cookie = await started(site)
    site.later(hours=7, minutes=59)
    assert await site.open(cookie) is not None
    site.later(minutes=1)
    assert await site.open(cookie) is None


async def test_who_signs_out_is_out_in_every_process(site: Site) -> None:
    session, cookie = await started(site)
    _, other = await started(site)
    await end_session(site.place, session, site.now)
    assert await site.open(cookie, site.process()) is None
    assert await site.open(other) is not None


async def test_everybody_can_be_signed_out(site: Site) -> None:
    cookies = [cookie for _, cookie in [await started(site), await started(site)]]
    await end_all(site.place, site.now)
    assert [await site.open(cookie) for cookie in cookies] == [None, None]


async def test_sessions_that_are_over_are_forgotten_with_the_next_one(site: Site) -> None:
    await started(site)
    site.later(hours=8)
    await started(site)
    rows = [row async for row in site.place.tables.query("sessions", site.connection)]
    assert len(rows) == 1


async def test_opening_costs_one_read(site: Site) -> None:
    _, cookie = await started(site)
    await site.open(cookie)
    before = site.place.tables.traffic.requests
    await site.open(cookie)
    assert site.place.tables.traffic.requests == before + 1


async def test_a_changed_cookie_opens_nothing(site: Site) -> None:
    _, cookie = await started(site)
    raw = bytearray(base64.urlsafe_b64decode(cookie))
    for place in range(0, len(raw), 7):
        raw[place] ^= 1
        assert await site.open(base64.urlsafe_b64encode(raw).decode()) is None
        raw[place] ^= 1
    for junk in ("", "x", cookie[:-4], cookie * 100, "é", "\x00", '{"id": 1}'):
        assert await site.open(junk) is None


async def test_a_cookie_sealed_with_another_key_opens_nothing(site: Site) -> None:
    session, cookie = await started(site)
    content = msgspec.json.encode({"purpose": "session", "content": {"id": session.id, "mark": ""}})
    assert await site.open(Fernet(Fernet.generate_key()).encrypt(content).decode()) is None
    assert await site.open(cookie) is not None


async def test_the_state_of_a_sign_in_is_no_session(site: Site) -> None:
    session, _ = await started(site)
    begun = await site.begin("console", session.id)
    assert await open_session(site.place, {COOKIE: begun.cookie}, site.now) is None


async def test_what_was_sealed_for_one_purpose_opens_for_no_other(site: Site) -> None:
    session, _ = await started(site)
    sealed = await seal(site.place, "state", session, site.now)
    assert await open_sealed(site.place, "state", sealed, sessions.Session, site.now) == session
    assert await open_sealed(site.place, "session", sealed, sessions.Session, site.now) is None
    assert await site.open(sealed) is None


async def test_a_session_that_somebody_plants_is_not_the_one_that_signing_in_gives(site: Site) -> None:
    planted, cookie = await started(site, f"{MARA}:{MARA}")
    await site.assign(NOOR, "Bridge.Reader")
    begun = await site.begin("console", planted.id)
    done = await site.complete(begun, await site.answered(begun))
    assert isinstance(done, Completed)
    assert done.session.id != planted.id
    assert await site.open(cookie) is None


# What a role rests on


async def test_the_authorization_account_is_an_administrator_as_long_as_it_is_that(site: Site) -> None:
    done = await site.connect(NOOR)
    assert await site.open(done.cookie) is not None
    await forget_account(site.place)
    assert await site.open(done.cookie) is None


async def test_a_session_by_setup_key_ends_when_the_settings_switch_the_key_off(site: Site) -> None:
    _, cookie = await started(site, SETUP_KEY)
    await site.settings(console={"setup_key": False})
    assert await site.open(cookie) is not None, "nobody else can sign in yet"
    await site.connect(NOOR)
    assert await site.open(cookie) is None


async def test_a_session_by_setup_key_ends_with_that_key(site: Site) -> None:
    _, cookie = await started(site, SETUP_KEY)
    assert await site.open(cookie, site.process(setup_key=KEY)) is not None
    assert await site.open(cookie, site.process(setup_key=f"{KEY}2")) is None
    assert await site.open(cookie, site.process(setup_key="")) is None


# The key that seals


async def test_processes_that_begin_at_once_agree_on_a_key(site: Site) -> None:
    places = [site.process() for _ in range(4)]
    made = await asyncio.gather(*(started(site, place=place) for place in places))
    for session, cookie in made:
        for place in (*places, site.process()):
            assert await site.open(cookie, place) == session


async def test_the_key_is_looked_up_every_few_minutes_only(site: Site) -> None:
    _, cookie = await started(site)
    site.microsoft.requests.clear()
    for _ in range(5):
        await site.open(cookie)
    assert site.microsoft.requests == []
    site.later(minutes=6)
    assert await site.open(cookie) is not None
    assert len(site.microsoft.requests) == 1


async def test_junk_makes_nobody_look_the_key_up_again_and_again(site: Site) -> None:
    await started(site)
    site.later(seconds=11)
    site.microsoft.requests.clear()
    for _ in range(5):
        await site.open("junk")
    assert len(site.microsoft.requests) == 1


async def test_after_a_month_a_new_key_seals_and_the_old_one_still_opens(site: Site) -> None:
    await started(site)
    [stored] = [item for item in site.microsoft.vault.secrets.values() if item.name.endswith("session-key")]
    site.now += datetime.timedelta(days=29, hours=23)
    _, old = await started(site)
    assert len(stored.versions) == 1
    site.now += datetime.timedelta(hours=2)
    _, new = await started(site, place=site.process())
    assert len(stored.versions) == 2
    assert await site.open(old) is not None
    assert await site.open(new) is not None, "the process with the old key looks again"
    newest = stored.versions[-1].value.split()
    assert newest[1:] == stored.versions[0].value.split()
    assert Fernet(newest[0]).decrypt(new.encode())


async def test_a_key_that_was_taken_away_ends_all_sessions_and_a_new_one_is_made(site: Site) -> None:
    _, cookie = await started(site)
    await site.place.secrets.delete("session-key")
    fresh = site.process()
    assert await site.open(cookie, fresh) is None
    session, again = await started(site, place=fresh)
    assert await site.open(again, site.process()) == session


async def test_storage_holds_neither_key_nor_cookie(site: Site) -> None:
    _, cookie = await started(site)
    [stored] = [item for item in site.microsoft.vault.secrets.values() if item.name.endswith("session-key")]
    named, _ = await TokenStore(site.place.tables, site.connection, "session-key").read()
    rows = [row.text() async for row in site.place.tables.query("sessions", site.connection)]
    for text in (named, *rows):
        assert stored.versions[0].value not in text
        assert cookie not in text


@pytest.mark.parametrize("days", [0, 31])
async def test_processes_that_renew_the_key_at_once_agree(site: Site, days: int) -> None:
    await started(site)
    site.now += datetime.timedelta(days=days)
    one, other = site.process(), site.process()
    (_, first), (_, second) = await asyncio.gather(started(site, place=one), started(site, place=other))
    assert await site.open(first, other) is not None
    assert await site.open(second, one) is not None


async def test_a_mass_of_old_sign_ins_makes_nobody_wait(site: Site) -> None:
    used = UsedStates(site.place.tables, site.place.id)
    for index in range(3 * SWEPT):
        await used.use(f"old{index}", site.now - datetime.timedelta(minutes=1))
    before = site.place.tables.traffic.requests
    await used.sweep(site.now)
    assert site.place.tables.traffic.requests - before <= SWEPT + 1
    await used.sweep(site.now)
    await used.sweep(site.now)
    assert await used.use("old0", site.now - datetime.timedelta(minutes=1)), "in the end all are forgotten"


async def test_a_cookie_opens_in_one_spelling_only(site: Site) -> None:
    _, cookie = await started(site)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = len(cookie.rstrip("=")) - 1
    others = [cookie[:last] + letter + cookie[last + 1 :] for letter in letters if letter != cookie[last]]
    for other in (*others, cookie + cookie, cookie + "A", f"{cookie}=", f"{cookie}\n", cookie.replace("-", "+")):
        assert other == cookie or await site.open(other) is None
    assert await site.open(cookie) is not None
