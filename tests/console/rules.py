"""What the tests of rules share: somebody else who saves, and a form that is filled in by the members' paths."""

from typing import Any

import msgspec

from store.document import Settings
from sync.service import save_settings
from tests.console.page import Form, Page
from tests.console.site import Site


async def stored(site: Site, section: str, **changes: Any) -> None:
    """Somebody else saves these members of a section."""
    base = await site.connection.settings.load()
    document = msgspec.to_builtins(base.settings)
    document[section] |= changes
    await save_settings(site.connection, msgspec.convert(document, Settings), base, site.world.tell())


async def opened(site: Site, section: str) -> Form:
    """The form of a section."""
    return (await site.get(f"/console/{section}")).form(f"/console/{section}")


async def sent(site: Site, form: Form, button: str = "Save", *, part: bool = False, **typed: Any) -> Page:
    """Press a button with members typed: ``users__number__start`` is ``/users/number/start``."""
    changes = {f"/{name.replace('__', '/')}": value for name, value in typed.items()}
    taken = [pair for pair in form.values(button) if pair[0] not in changes]
    values = [(name, one) for name, value in changes.items() for one in (value if isinstance(value, list) else [value])]
    return await site.post(form.action, [*taken, *values], part=part)


async def searched(site: Site, form: Form, text: str, button: str = "Search", *, part: bool = False) -> Page:
    """Press a button with this in the search field."""
    pairs = [pair for pair in form.values(button) if pair[0] != "search"]
    return await site.post(form.action, [*pairs, ("search", text)], part=part)


def values(form: Form, path: str) -> list[str]:
    """What a browser would send for a member."""
    return [value for name, value in form.values() if name == path]
