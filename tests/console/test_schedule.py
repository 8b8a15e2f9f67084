"""The schedule: what is stored, what is typed, and when runs start by it."""

from typing import Any

import msgspec
import pytest

from store.document import Schedule
from sync.service import save_settings
from tests.console.page import Form, Page
from tests.console.site import HOSTILE, Site

PATH = "/console/schedule"


async def schedule(site: Site, **changes: Any) -> None:
    """Somebody else saves another schedule."""
    base = await site.connection.settings.load()
    changed = msgspec.structs.replace(base.settings.schedule, **changes)
    settings = msgspec.structs.replace(base.settings, schedule=changed)
    await save_settings(site.connection, settings, base, site.world.tell())


async def opened(site: Site) -> Form:
    return (await site.get(PATH)).form(PATH)


async def sent(site: Site, form: Form, button: str = "Save", *, part: bool = False, **changes: Any) -> Page:
    """Press a button with these members of the schedule typed."""
    pairs = form.filled(button, **{f"/schedule/{name}": value for name, value in changes.items()})
    return await site.post(PATH, pairs, part=part)


def times(page: Page) -> list[str]:
    return [item.text for item in page.root.one(id="times").all("li")]


async def test_the_page_shows_what_is_stored_and_the_next_three_times_in_its_zone(site: Site) -> None:
    await schedule(site, kind="weekly", days=["mon", "fri"], at="07:15", time_zone="Europe/Amsterdam", poll_minutes=30)
    await site.sign_in()
    page = await site.get(PATH)
    form = page.form(PATH)
    assert form["/schedule/kind"] == "weekly"
    assert [value for name, value in form.values() if name == "/schedule/days"] == ["mon", "fri"]
    assert form["/schedule/at"] == "07:15"
    assert form["/schedule/time_zone"] == "Europe/Amsterdam"
    assert form["/schedule/poll_minutes"] == "30"
    assert times(page) == [
        "Friday, 2026-03-06 07:15 Europe/Amsterdam (2026-03-06 06:15 UTC)",
        "Monday, 2026-03-09 07:15 Europe/Amsterdam (2026-03-09 06:15 UTC)",
        "Friday, 2026-03-13 07:15 Europe/Amsterdam (2026-03-13 06:15 UTC)",
    ]


async def test_what_is_typed_is_saved_and_recorded(site: Site) -> None:
    await site.sign_in()
    form = await opened(site)
    page = await sent(
        site, form, kind="weekly", days=["tue", "sun"], at="23:45", time_zone="Asia/Tokyo", change_delay_minutes="3",
        change_count="7", poll_minutes="90",
    )  # fmt: skip
    assert page.path == f"{PATH}?done=saved"
    assert page.says("Saved.")
    wanted = Schedule(
        kind="weekly", days=["tue", "sun"], at="23:45", time_zone="Asia/Tokyo", change_delay_minutes=3, change_count=7,
        poll_minutes=90,
    )  # fmt: skip
    assert (await site.settings()).schedule == wanted
    [entry] = [entry for entry in await site.trail() if entry.action == "settings.saved"]
    assert (entry.who, entry.object) == ("Ada Admin", "/schedule")
    assert msgspec.json.decode(entry.before, type=Schedule) == Schedule()
    assert msgspec.json.decode(entry.after, type=Schedule) == wanted


async def test_a_form_sent_as_it_was_opened_changes_nothing(site: Site) -> None:
    await schedule(site, kind="weekly", days=["sun", "mon"], time_zone="America/Lima")
    before = await site.connection.settings.load()
    await site.sign_in()
    await sent(site, await opened(site))
    assert (await site.connection.settings.load()).revision == before.revision
    assert [entry for entry in await site.trail() if entry.action == "settings.saved"] == []


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"at": "25:00"}, "at", "has to be a time of day as 00:30"),
        ({"at": HOSTILE}, "at", "has to be a time of day"),
        ({"time_zone": "Europe/Atlantis"}, "time_zone", "has to be a time zone of the IANA database"),
        ({"kind": "weekly"}, "days", "has to name at least one day"),
        ({"kind": "hourly"}, "kind", "has to be one of daily, weekly"),
        ({"change_delay_minutes": "soon"}, "change_delay_minutes", "has to be a whole number"),
        ({"change_delay_minutes": "1.5"}, "change_delay_minutes", "has to be a whole number"),
        ({"change_count": "0"}, "change_count", "has to be 1 or more"),
        ({"change_count": ""}, "change_count", "has to be a whole number"),
        ({"poll_minutes": "9" * 5000}, "poll_minutes", "has to be a whole number"),
        ({"days": ["mon", "mon"]}, "days", "is in the list already"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_fault_is_told_at_its_field_and_everything_typed_is_kept(
    site: Site, changes: dict[str, Any], field: str, words: str
) -> None:
    await site.sign_in()
    page = await sent(site, await opened(site), **{"time_zone": "Asia/Tokyo", **changes})
    assert page.status == 422
    assert words in page.root.one(id=f"fault-schedule-{field}").text
    assert len(page.faults) == 1
    form = page.form(PATH)
    for name, typed in {"time_zone": "Asia/Tokyo", **changes}.items():
        if name not in {"kind", "days"}:
            assert form[f"/schedule/{name}"] == typed
    assert not page.root.all("img")
    assert (await site.settings()).schedule == Schedule()


async def test_times_can_be_seen_before_they_are_saved(site: Site) -> None:
    await site.sign_in()
    page = await sent(site, await opened(site), "Show the times", at="12:00")
    assert times(page)[0] == "Monday, 2026-03-02 12:00 UTC (2026-03-02 12:00 UTC)"
    assert page.form(PATH)["/schedule/at"] == "12:00"
    assert (await site.settings()).schedule == Schedule()


async def test_scripts_get_only_the_times(site: Site) -> None:
    await site.sign_in()
    form = await opened(site)
    page = await sent(site, form, "Show the times", part=True, at="12:00")
    assert page.heading == ""
    assert page.says("As typed, full runs would start at Monday, 2026-03-02 12:00 UTC")
    wrong = await sent(site, form, "Show the times", part=True, at="noon")
    assert wrong.says("shown when the form is right")


async def test_a_save_after_somebody_else_s_tells_what_they_changed_and_the_next_one_wins(site: Site) -> None:
    await site.sign_in()
    form = await opened(site)
    await schedule(site, at="05:00", change_count=44)
    page = await sent(site, form, at="06:00")
    assert page.status == 409
    [notice] = page.notices
    assert "Time /schedule/at: 05:00" in notice
    assert "/schedule/change_count: 44" in notice
    assert "/schedule/time_zone" not in notice
    assert page.form(PATH)["/schedule/at"] == "06:00"
    assert (await site.settings()).schedule.at == "05:00"
    await sent(site, page.form(PATH))
    assert (await site.settings()).schedule.at == "06:00"


async def test_a_reader_sees_the_schedule_and_cannot_change_it(site: Site) -> None:
    await site.sign_in("reader")
    page = await site.get(PATH)
    assert page.says("Bridge.Admin")
    form = page.form(PATH)
    assert form.buttons == []
    assert form.values() == []
    assert (await site.post(PATH, {"/schedule/at": "09:00"})).status == 403
    assert (await site.settings()).schedule == Schedule()


async def test_a_form_without_the_token_is_refused(site: Site) -> None:
    await site.sign_in()
    form = await opened(site)
    pairs = [pair for pair in form.filled("Save", **{"/schedule/at": "09:00"}) if pair[0] != "csrf"]
    assert (await site.post(PATH, [*pairs, ("csrf", "")])).status == 403
    assert (await site.settings()).schedule == Schedule()


async def test_while_everything_is_disabled_the_schedule_is_read_only_and_says_why(site: Site) -> None:
    await site.sign_in()
    form = await opened(site)
    await site.connection.health.update(lambda health: msgspec.structs.replace(health, disabled=True))
    page = await site.get(PATH)
    assert page.says("The integration is disabled")
    assert page.form(PATH).buttons == []
    late = await sent(site, form, at="09:00")
    assert late.status == 409
    assert late.says("Nothing was saved or started. The integration is disabled: its settings are read-only.")
    assert (await site.settings()).schedule == Schedule()


async def test_a_stored_text_that_is_markup_stays_a_text(site: Site) -> None:
    await site.sign_in()
    page = await sent(site, await opened(site), at=HOSTILE, time_zone=HOSTILE)
    assert page.form(PATH)["/schedule/at"] == HOSTILE
    assert "<img src=x" not in page.html
