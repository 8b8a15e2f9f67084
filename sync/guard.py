"""The accidental-deletion check. Pure."""

from collections.abc import Collection

from store.document import Guard
from sync.plan import Held, Operation, Plan

REMOVING = {"delete", "release"}


def check(plan: Plan, linked: int, rules: Guard, *, approved: Collection[str] = (), complete: bool) -> Held:
    """Which removals have to wait. ``linked`` is the number of linked extensions before the run.

    An empty directory holds deletions and releases alike: it is far more likely a mistake than the truth. Otherwise the
    deletions are held, all of them, when their number or share is above the threshold. What an administrator approved
    passes.
    """
    waiting = [operation for operation in plan.operations if operation.object_id not in approved]
    if complete and plan.read == 0 and linked > 0:
        return _held([operation for operation in waiting if operation.kind in REMOVING], _empty(linked))
    deletions = [operation for operation in waiting if operation.kind == "delete"]
    share = 100 * len(deletions) / linked if linked else 0.0
    if len(deletions) > rules.max_deletions:
        return _held(deletions, f"{len(deletions)} deletions are more than the {rules.max_deletions} of the guard.")
    if deletions and share > rules.max_deletion_percent:
        words = f"{len(deletions)} of {linked} extensions ({share:.0f} %) are more than the guard's"
        return _held(deletions, f"{words} {rules.max_deletion_percent:g} %.")
    return Held()


def _held(operations: Collection[Operation], reason: str) -> Held:
    return Held(frozenset(operation.object_id for operation in operations), reason if operations else "")


def _empty(linked: int) -> str:
    return f"Entra returned no user at all while {linked} extensions are linked."
