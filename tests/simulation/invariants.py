"""What holds after every run, whatever happened. Each law is a pure function; its docstring is the law."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import msgspec

from store.links import Link
from store.runs import RunItem
from tests.simulation import oracle
from tests.simulation.observed import FIELDS, Extension, Ran, Snapshot

type Law = Callable[[Ran], Iterator[str]]

LAWS: list[Law] = []


def law(function: Law) -> Law:
    LAWS.append(function)
    return function


def violations(ran: Ran, laws: Iterable[Law] = LAWS) -> list[str]:
    """Every law that this run broke, with what broke it."""
    return [
        f"{one.__name__}: {words}\n    the law: {(one.__doc__ or '').strip()}" for one in laws for words in one(ran)
    ]


# The PBX


@law
def strangers_are_left_alone(ran: Ran) -> Iterator[str]:
    """An extension without a link never changes and never disappears, unless a rule associates it."""
    ours = ran.before.linked()
    for pbx_id, extension in ran.before.extensions.items():
        if pbx_id in ours or extension["number"] in ran.before.intents:
            continue
        now = ran.after.extensions.get(pbx_id)
        if now is None:
            yield f"extension {extension['number']} disappeared"
        elif now != extension and not _may_be_taken(pbx_id, extension, ran):
            yield f"extension {extension['number']} was {dict(extension)} and is {dict(now)}"


@law
def only_synced_fields_are_written(ran: Ran) -> Iterator[str]:
    """Nobody is ever renumbered."""
    for pbx_id, extension in ran.before.extensions.items():
        now = ran.after.extensions.get(pbx_id)
        if now is not None and now["number"] != extension["number"]:
            yield f"extension {extension['number']} became {now['number']}"


@law
def numbers_and_addresses_are_unique(ran: Ran) -> Iterator[str]:
    """A number and an address are on one extension only."""
    for name in ("number", "email_addr"):
        seen = Counter(one[name].casefold() for one in ran.after.extensions.values() if one[name])
        yield from (f"{name} {value} is there {count} times" for value, count in seen.items() if count > 1)


@law
def every_new_extension_is_on_record(ran: Ran) -> Iterator[str]:
    """What the bridge creates is linked, or remembered as an intent: so nobody ever gets a second extension."""
    known = ran.after.linked().keys()
    fresh = ran.after.extensions.keys() - ran.before.extensions.keys() - ran.during.made_meanwhile
    for pbx_id in fresh - known:
        extension = ran.after.extensions[pbx_id]
        if extension["number"] not in ran.after.intents:
            yield f"extension {extension['number']} was created and is forgotten"


@law
def deletions_follow_a_rule(ran: Ran) -> Iterator[str]:
    """An extension is deleted only if a rule says so at that moment."""
    for object_id, number in _deleted(ran):
        if not oracle.may_be_deleted(object_id, ran):
            yield f"extension {number} of {_name(object_id, ran)} was deleted without a rule"


@law
def the_guard_holds_mass_deletions(ran: Ran) -> Iterator[str]:
    """Without approval no run deletes more than the guard allows, and none from an empty directory."""
    unapproved = [number for object_id, number in _deleted(ran) if object_id not in ran.during.approved]
    linked = len(ran.before.linked()) + len(ran.before.intents)
    guard = ran.during.settings.guard
    if len(unapproved) > guard.max_deletions:
        yield f"{len(unapproved)} deletions, {guard.max_deletions} are allowed"
    if unapproved and 100 * len(unapproved) / linked > guard.max_deletion_percent:
        yield f"{len(unapproved)} of {linked} deleted, {guard.max_deletion_percent} % are allowed"
    if unapproved and not ran.during.people and ran.run.mode == "full":
        yield "the directory is empty, and extensions were deleted"


@law
def what_is_held_waits_for_an_approval(ran: Ran) -> Iterator[str]:
    """What the guard held once is deleted only when an administrator approves it, however few there are later."""
    for object_id, number in _deleted(ran):
        if object_id in ran.before.held - ran.during.approved:
            yield f"extension {number} of {_name(object_id, ran)} was held, and is deleted"


@law
def previews_and_refused_runs_change_nothing(ran: Ran) -> Iterator[str]:
    """A preview, and a run that could not read everything, change neither the PBX nor the cursor."""
    has_planned = "total" in ran.run.counts or not ran.is_finished
    if not ran.run.preview and has_planned:
        return
    now = {key: one for key, one in ran.after.extensions.items() if key not in ran.during.made_meanwhile}
    if now != ran.before.extensions:
        yield "the PBX changed"
    if ran.after.cursor != ran.before.cursor:
        yield "the cursor moved"


# The records


@law
def an_extension_is_linked_once(ran: Ran) -> Iterator[str]:
    """No two users have the same extension."""
    seen = Counter(link.pbx_id for link in ran.after.links.values() if link.state == "linked")
    yield from (f"extension id {pbx_id} is linked {count} times" for pbx_id, count in seen.items() if count > 1)


@law
def the_cursor_moves_behind_a_whole_plan_only(ran: Ran) -> Iterator[str]:
    """The cursor moves only after every operation is recorded, and what failed is remembered with it."""
    cursor = ran.after.cursor
    if cursor == ran.before.cursor or cursor is None:
        return
    if len(ran.all_items) < ran.run.counts.get("total", 0):
        yield f"{len(ran.all_items)} of {ran.run.counts.get('total')} operations are recorded"
    last = {item.object_id: item.outcome for item in ran.items}
    for object_id, outcome in last.items():
        if outcome == "failed" and object_id not in cursor.retry:
            yield f"{_name(object_id, ran)} failed and is not remembered"


@law
def items_give_a_reason(ran: Ran) -> Iterator[str]:
    """Every operation of a run says why."""
    yield from (f"{item.operation} of {item.name} has no reason" for item in ran.items if not item.reason.strip())


@law
def items_are_counted(ran: Ran) -> Iterator[str]:
    """The counts of a run that came to its end are those of its items."""
    if ran.run.status not in {"succeeded", "partial"}:
        return
    seen = Counter(f"{item.operation}.{item.outcome}" for item in ran.all_items)
    counted = {name: number for name, number in ran.run.counts.items() if "." in name}
    if ran.run.executions > 1:  # what an earlier execution did not get done was planned again
        seen = Counter({name: min(number, counted.get(name, 0)) for name, number in seen.items() if name in counted})
    if dict(seen) != counted:
        yield f"{counted} counted, {dict(seen)} recorded"


@law
def done_is_what_the_pbx_has(ran: Ran) -> Iterator[str]:
    """What a run calls done is so on the PBX."""
    for item in _last_items(ran):
        if item.outcome == "done" and item.operation != "release":
            yield from _contradictions(item, ran.after)


@law
def nobody_is_created_twice(ran: Ran) -> Iterator[str]:
    """Who has an extension on record that exists is not called created once more."""
    for item in ran.items:
        link = ran.before.linked().get(item.pbx_id or 0)
        is_known = link is not None and link.object_id == item.object_id and item.pbx_id in ran.before.extensions
        if item.operation == "create" and item.outcome == "done" and is_known:
            yield _words(item)


@law
def links_say_what_the_pbx_has(ran: Ran) -> Iterator[str]:
    """After a clean full run every link says what the PBX has."""
    if not ran.is_clean_full:
        return
    if ran.after.counted != len(ran.after.linked()):
        yield f"the status counts {ran.after.counted} linked users, there are {len(ran.after.linked())}"
    held = _held(ran)
    for pbx_id, link in ran.after.linked().items():
        extension = ran.after.extensions.get(pbx_id)
        if link.object_id in held:
            continue
        if extension is None:
            if not _is_excused(link, ran):
                yield f"{link.name}'s extension {link.number} does not exist"
        elif not oracle.is_another(extension, link) and (link.number, dict(link.written)) != (
            extension["number"],
            _synced(extension),
        ):
            yield f"{link.name}'s link says {link.number} {link.written}, the PBX has {dict(extension)}"


@law
def secrets_stay_secret(ran: Ran) -> Iterator[str]:
    """No secret, token or password is in a record or in the log."""
    yield from (f"{text[:6]}... is in the log or the records" for text in ran.sensitive if text in ran.spoken)


@law
def the_pbx_is_asked_as_documented(ran: Ran) -> Iterator[str]:
    """Every request to the PBX keeps to its documentation."""
    yield from ran.violations


# The rules


@law
def clean_runs_succeed(ran: Ran) -> Iterator[str]:
    """A run that nothing disturbs succeeds, and no item of it fails."""
    if not ran.during.clean or not ran.is_finished:
        return
    off = not ran.during.settings.users.enabled and not ran.run.preview
    expected = "failed" if ran.during.scope_is_broken or off else "succeeded"
    if ran.run.status != expected:
        failed = [(item.operation, item.name, item.reason) for item in ran.items if item.outcome == "failed"]
        yield f"it {ran.run.status}: {ran.run.fault or failed}"


@law
def no_run_meets_a_fault_of_our_own(ran: Ran) -> Iterator[str]:
    """Whatever is broken around it, the bridge itself never is."""
    if ran.run.fault is not None and ran.run.fault.code == "internal":
        yield ran.run.fault.trace
    if ran.signs_in_blocked:
        yield "the PBX blocks our address after failed sign-ins"


@law
def who_has_an_extension_is_who_should(ran: Ran) -> Iterator[str]:
    """After a clean full run the linked users are those that the rules want, less those with a good excuse."""
    if not ran.is_clean_full:
        return
    held = _held(ran)
    skipped = {item.object_id for item in ran.items if item.outcome == "skipped"}
    linked = {link.object_id: link for link in ran.after.links.values() if link.state == "linked"}
    for object_id in linked.keys() - held:
        person = ran.during.people.get(object_id)
        if person is None or not oracle.is_wanted(person, ran):
            yield f"{_name(object_id, ran)} is linked and should not be"
    for object_id, person in ran.during.people.items():
        link = linked.get(object_id)
        has_one = link is not None and link.pbx_id in ran.after.extensions
        if not oracle.is_wanted(person, ran) or has_one:
            continue
        if object_id not in skipped or not [*oracle.excuses(person, ran)]:
            yield f"{_name(object_id, ran)} has no extension, and no good reason (skipped: {object_id in skipped})"


@law
def extensions_look_as_entra_says(ran: Ran) -> Iterator[str]:
    """After a clean full run the synced fields are those of the user; an address that is taken stays as it was."""
    if not ran.is_clean_full:
        return
    held = _held(ran)
    for pbx_id, link in ran.after.linked().items():
        person, extension = ran.during.people.get(link.object_id), ran.after.extensions.get(pbx_id)
        if person is None or extension is None or link.object_id in held or oracle.is_another(extension, link):
            continue
        expected, shown = oracle.fields(person), _synced(extension)
        if oracle.is_address_taken(person, pbx_id, dict(ran.before.extensions)):
            expected["email_addr"] = shown["email_addr"]
        if shown != expected:
            yield f"{_name(link.object_id, ran)} is {shown} and should be {expected}"


@law
def numbers_follow_the_rule(ran: Ran) -> Iterator[str]:
    """A new number is from the property, or at least the first one of the rule; a user who had one keeps it."""
    rule = ran.during.settings.users.number
    for item in ran.items:
        link = ran.before.links.get(item.object_id)
        if item.operation != "create" or item.outcome != "done":
            continue
        if link is not None and link.state == "linked":
            if item.extension != link.number:
                yield f"{item.name} had {link.number} and was created again as {item.extension}"
        elif rule.kind == "sequential" and int(item.extension) < rule.start:
            yield f"{item.name} got {item.extension}, the rule begins at {rule.start}"
        elif rule.kind == "property" and item.extension != oracle.number(ran.during.people[item.object_id], ran):
            yield f"{item.name} got {item.extension}, which is not the number of the property"


# One run after another


@law
def a_second_run_has_nothing_to_do(ran: Ran) -> Iterator[str]:
    """After a clean full run another run writes nothing, less the tries of an incremental run, which does not list the
    PBX, to give an address that is in use."""
    earlier = ran.previous
    if earlier is None or not earlier.is_clean_full or not ran.is_clean_success or ran.run.decides is not None:
        return
    writes = ran.run.requests.get("pbx_writes", 0) - sum(_finds_address_in_use(item, ran) for item in ran.items)
    if writes > 0 and ran.run.executions == 1:
        yield f"{writes} writes: {[_words(item) for item in ran.items]}"
    if any(item.outcome == "done" for item in ran.items):
        yield f"nothing was left to do: {[_words(item) for item in ran.items if item.outcome == 'done']}"
    if ran.after.extensions != ran.before.extensions or ran.after.links != ran.before.links:
        yield "the PBX or the links changed"


@law
def a_preview_shows_what_the_run_does(ran: Ran) -> Iterator[str]:
    """A run right after a preview does exactly what that showed, less addresses that an incremental run, which does not
    list the PBX, finds in use."""
    earlier = ran.previous
    if earlier is None or not earlier.run.preview or ran.run.preview or not ran.is_clean_success:
        return
    if not earlier.during.clean or (earlier.run.mode, earlier.run.decides) != (ran.run.mode, ran.run.decides):
        return
    shown, did = [_promise(_as_refused(item, ran)) for item in earlier.items], [_promise(item) for item in ran.items]
    if shown != did:
        yield f"shown {[one for one in shown if one not in did]}, done {[one for one in did if one not in shown]}"


@law
def the_cursor_never_lies(ran: Ran) -> Iterator[str]:
    """A full run after incremental ones finds nothing but what was changed by hand, or who had to wait."""
    if not ran.is_clean_full or not ran.up_to_date or ran.run.decides is not None:
        return
    for item in ran.items:
        link = ran.before.links.get(item.object_id)
        by_hand = link is not None and link.pbx_id in ran.during.touched
        waited = item.object_id in ran.during.waiting
        if item.outcome == "done" and not (by_hand or waited or ran.during.rearranged):
            yield _words(item)


# Small parts


def _deleted(ran: Ran) -> list[tuple[str, str]]:
    """Whose extensions disappeared: object ids and numbers."""
    gone = ran.before.extensions.keys() - ran.after.extensions.keys()
    intents = ran.before.intents
    found = []
    for pbx_id in gone:
        link = ran.before.linked().get(pbx_id)
        number = ran.before.extensions[pbx_id]["number"]
        if link is not None or number in intents:
            found.append((link.object_id if link is not None else intents[number], number))
    return found


def _may_be_taken(pbx_id: int, extension: Extension, ran: Ran) -> bool:
    """Whether a rule lets somebody have this extension: by its address, or because it was released before."""
    wanted = [person for person in ran.during.people.values() if oracle.is_wanted(person, ran)]
    mail = extension["email_addr"].casefold()
    if ran.during.settings.users.associate_by_email and mail:
        return any(oracle.address(person).casefold() == mail for person in wanted) or _was_released(pbx_id, ran)
    return _was_released(pbx_id, ran)


def _was_released(pbx_id: int, ran: Ran) -> bool:
    return any(
        link.state == "released" and link.pbx_id == pbx_id and link.object_id in ran.during.people
        for link in ran.before.links.values()
    )


def _held(ran: Ran) -> set[str]:
    """Who waits for a decision: nothing about them is touched."""
    return {item.object_id for item in ran.items if item.outcome == "held"}


def _last_items(ran: Ran) -> list[RunItem]:
    """The last word on each object: a run that was killed may speak twice."""
    return list({item.object_id: item for item in ran.items}.values())


def _contradictions(item: RunItem, after: Snapshot) -> Iterator[str]:
    extension = after.extensions.get(item.pbx_id or 0)
    if item.operation == "delete":
        if extension is not None:
            yield f"{_words(item)}, but it exists"
        return
    if extension is None:
        yield f"{_words(item)}, but it does not exist"
        return
    differing = {name: extension[name] for name, value in item.after.items() if extension[name] != value}
    if extension["number"] != item.extension or differing:
        yield f"{_words(item)}, but the PBX has {extension['number']} {differing}"


def _is_excused(link: Link, ran: Ran) -> bool:
    """A linked user without an extension, of whom the run says why."""
    return any(item.object_id == link.object_id and item.outcome in {"skipped", "held"} for item in ran.items)


def _synced(extension: Extension) -> dict[str, str]:
    return {name: extension[name] for name in FIELDS}


def _promise(item: RunItem) -> tuple[object, ...]:
    outcome = "planned" if item.outcome == "done" else item.outcome
    return item.operation, outcome, item.object_id, item.extension, item.before, item.after, item.reason


def _finds_address_in_use(item: RunItem, ran: Ran) -> bool:
    """Whether an incremental run had to learn from the PBX that somebody else has the address it wanted to give."""
    mail = item.after.get("email_addr", "").casefold()
    others = [one["email_addr"].casefold() for key, one in ran.after.extensions.items() if key != item.pbx_id]
    return ran.run.mode == "incremental" and item.operation == "update" and bool(mail) and mail in others


def _as_refused(item: RunItem, ran: Ran) -> RunItem:
    """What becomes of a planned update when its address is in use: the rest of it."""
    if not _finds_address_in_use(item, ran):
        return item
    rest = {name: value for name, value in item.after.items() if name != "email_addr"}
    if rest:
        return msgspec.structs.replace(item, after=rest)
    words = f"The e-mail address {item.after['email_addr']} is in use by another extension."
    return msgspec.structs.replace(item, outcome="skipped", reason=words)


def _words(item: RunItem) -> str:
    change = ", ".join(f"{name} {item.before.get(name, '')!r} -> {value!r}" for name, value in item.after.items())
    return f"{item.operation} {item.outcome}: {item.name} {item.extension} ({item.reason}) {change}".strip()


def _name(object_id: str, ran: Ran) -> str:
    person = ran.during.people.get(object_id)
    return str(person["displayName"]) if person is not None else f"the former user {object_id[:8]}"
