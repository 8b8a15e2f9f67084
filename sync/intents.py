"""Settles intents: creates whose outcome is unknown because a run was interrupted or an answer was lost. Pure."""

from collections.abc import Iterable, Mapping

import msgspec

from store.links import Link
from sync.plan import Extension


def settle(links: Iterable[Link], extensions: Mapping[int, Extension]) -> dict[str, Link]:
    """The links with every intent decided: linked to the extension that the create made, or left out.

    An extension is ours if it has the intended number and the intended address (the names, when there was no address)
    and no other link means it. So a lost answer never makes a second extension for the same user, and no two users
    ever get the same one.
    """
    known = list(links)
    linked = {link.pbx_id for link in known if link.state != "intent"}
    by_number = {extension.number: extension for extension in extensions.values() if extension.pbx_id not in linked}
    settled: dict[str, Link] = {}
    for link in known:
        if link.state != "intent":
            settled[link.object_id] = link
        elif (extension := by_number.get(link.number)) is not None and is_same(link.written, extension):
            settled[link.object_id] = msgspec.structs.replace(link, state="linked", pbx_id=extension.pbx_id)
            del by_number[link.number]
    return settled


def is_same(written: Mapping[str, str], extension: Extension) -> bool:
    """Whether an extension is what a create with the fields ``written`` makes."""
    address = written.get("email_addr", "")
    if address:
        return extension.email.casefold() == address.casefold()
    fields = extension.fields
    return fields is not None and all(fields.get(name) == written.get(name, "") for name in ("first_name", "last_name"))
