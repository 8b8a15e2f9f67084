"""The rules once more, as plainly as they can be said. Knows nothing of the planner; the two have to agree."""

import re
from collections.abc import Iterator

from store.links import Link
from tests.simulation.observed import Extension, Person, Ran


def is_in_scope(person: Person, ran: Ran) -> bool:
    scope = ran.during.settings.users.scope
    if scope.kind == "groups":
        return person["id"] in (ran.during.members or frozenset())
    kind = person.get("userType") or ("Guest" if "#EXT#" in person["userPrincipalName"] else "Member")
    return scope.kind == "all" or kind in scope.user_types


def is_off(person: Person, ran: Ran) -> bool:
    """A disabled account that by rule has no extension."""
    return not person["accountEnabled"] and "disabled" in ran.during.settings.users.delete_when


def is_wanted(person: Person, ran: Ran) -> bool:
    return is_in_scope(person, ran) and not is_off(person, ran)


def may_be_deleted(object_id: str, ran: Ran) -> bool:
    """Whether a rule says that this user's extension goes."""
    rules, person = ran.during.settings.users, ran.during.people.get(object_id)
    if person is None:
        return "deleted" in rules.delete_when
    return is_off(person, ran) or (rules.delete_out_of_scope and not is_in_scope(person, ran))


def address(person: Person) -> str:
    """What the PBX takes as an address; a plus sign it does not take."""
    mail = person.get("mail") or ""
    return "" if "+" in mail else mail


def fields(person: Person) -> dict[str, str]:
    given, surname = person.get("givenName") or "", person.get("surname") or ""
    return {
        "first_name": given if given or surname else person["displayName"],
        "last_name": surname,
        "email_addr": address(person),
        "mobile_number": (person.get("mobilePhone") or "").replace(" ", ""),
        "title": person.get("jobTitle") or "",
    }


def number(person: Person, ran: Ran) -> str | None:
    """The number that a property gives; ``None`` when it gives none that can be used."""
    value = person.get(ran.during.settings.users.number.property or "") or ""
    found = re.search(r"ext\. ([0-9]+)$", value)
    digits = found.group(1) if found else re.sub(r"[^0-9]", "", value)
    return digits if 1 <= len(digits) <= 7 else None


def is_another(extension: Extension, link: Link) -> bool:
    """Whether an extension is no longer the one that was linked: without its address it has another number, or another
    name."""
    mail = link.written.get("email_addr", "").casefold()
    if mail and mail == extension["email_addr"].casefold():
        return False
    names = ("first_name", "last_name")
    has_a_name = any(link.written.get(name) and link.written[name] == extension[name] for name in names)
    return extension["number"] != link.number or not has_a_name


def excuses(person: Person, ran: Ran) -> Iterator[str]:
    """Why a wanted user may have no extension after a clean full run."""
    extensions, links, rules = ran.after.extensions, ran.after.links, ran.during.settings.users
    mail = address(person).casefold()
    if mail and any(extension["email_addr"].casefold() == mail for extension in extensions.values()):
        yield "the address is on another extension"
    if len(extensions) >= ran.during.capacity:
        yield "the licence is used up"
    own = links.get(person["id"])
    if own is not None and own.state == "linked":
        if own.number in {extension["number"] for extension in extensions.values()}:
            yield "another extension has its number"
    elif rules.number.kind == "property":
        wanted = number(person, ran)
        # A number that left in this run counts as free only within it; one that is linked is kept for its user.
        known = {link.number for link in links.values()} | {one["number"] for one in extensions.values()}
        if wanted is None or wanted in known:
            yield "the property gives no number that is free"


def is_address_taken(person: Person, own: int, extensions: dict[int, Extension]) -> bool:
    mail = address(person).casefold()
    return any(one["email_addr"].casefold() == mail for key, one in extensions.items() if key != own and mail)
