"""The accidental-deletion check. Pure."""

from collections.abc import Collection

import msgspec

from store.document import Guard
from sync.plan import Held, Operation, Plan

REMOVING = {"delete", "release"}


def check(
    plan: Plan,
    linked: int,
    rules: Guard,
    *,
    approved: Collection[str] = (),
    waiting: Collection[str] = (),
    recent: int = 0,
    is_empty: bool = False,
    things: str = "extensions",
) -> Held:
    """Which removals have to wait. ``linked`` is the number of linked extensions before the run (``things`` says of
    what).

    ``recent`` deletions of the last day count as if they were made now, so that many small runs delete no more than one
    large one. What was held before and not approved (``waiting``) stays held, whatever the numbers. ``is_empty``: the
    directory, or the groups of the scope, were read to the end and hold nobody.

    An empty directory holds deletions and releases alike: it is far more likely a mistake than the truth. Otherwise the
    deletions are held, all of them, when their number or share is above the threshold. What an administrator approved
    passes.
    """
    undecided = [operation for operation in plan.operations if operation.object_id not in approved]
    if is_empty and linked > 0:
        return _held([operation for operation in undecided if operation.kind in REMOVING], _empty(linked, things))
    deletions = [operation for operation in undecided if operation.kind == "delete"]
    number, all_links = len(deletions) + recent, linked + recent
    share = 100 * number / all_links if all_links else 0.0
    within = " within a day" if recent else ""
    if deletions and number > rules.max_deletions:
        return _held(deletions, f"{number} deletions{within} are more than the {rules.max_deletions} of the guard.")
    if deletions and share > rules.max_deletion_percent:
        words = f"{number} of {all_links} {things} ({share:.0f} %){within} are more than the guard's"
        return _held(deletions, f"{words} {rules.max_deletion_percent:g} %.")
    still = [operation for operation in undecided if operation.kind in REMOVING and operation.object_id in waiting]
    return _held(still, "It was held before, and nobody has approved it.")


def forewarn(plan: Plan, linked: int, rules: Guard) -> str:
    """A word about extensions that ``plan`` marks, when they are more than could be deleted at once; else nothing.

    Nothing is held, because nothing is deleted yet: whoever reads it has the days of grace to look at them.
    """
    marks = [operation for operation in plan.operations if operation.leaving is not None and operation.leaving.since]
    deletions = tuple(msgspec.structs.replace(operation, kind="delete") for operation in marks)
    if not check(Plan(operations=deletions), linked, rules).object_ids:
        return ""
    return (
        f"{len(marks)} extensions were marked to be deleted after their days of grace, more than the guard lets pass "
        "at once: see that it is meant so."
    )


def _held(operations: Collection[Operation], reason: str) -> Held:
    return Held(frozenset(operation.object_id for operation in operations), reason if operations else "")


def _empty(linked: int, things: str) -> str:
    nobody = "nobody at all, or nobody in the scope's groups," if things == "extensions" else "no group at all"
    return f"Entra returned {nobody} while {linked} {things} are linked."
