"""Explains a run about one user, step by step: found, in scope, matched, what changes. Pure."""

from store.runs import Step
from sync.fields import display_name
from sync.grace import forecast
from sync.plan import Held, Operation, Plan
from sync.planner import UsersInput, in_scope, user_type


def explain_user(data: UsersInput, plan: Plan, held: Held, object_id: str) -> list[Step]:
    """The steps up to the plan; what came of it is said by the run's item."""
    user = data.users[object_id]
    if user.removed is not None:
        steps = [Step("Found in Entra?", "no", "The user does not exist, or was deleted and can still be restored.")]
    else:
        account = "disabled" if user.account_enabled is False else "enabled"
        about = f"{display_name(user)} ({user.user_principal_name}), {user_type(user)}, account {account}."
        wanted = in_scope(user, data.rules, data.members)
        steps = [
            Step("Found in Entra?", "yes", about),
            Step("In scope?", "yes" if wanted else "no", _scope(data)),
        ]
    operation = next((operation for operation in plan.operations if operation.object_id == object_id), None)
    return [*steps, _matched(data, object_id, operation), _changes(data, object_id, operation, held)]


def _scope(data: UsersInput) -> str:
    scope = data.rules.scope
    match scope.kind:
        case "types":
            return f"The scope is users of the type {' or '.join(scope.user_types)}."
        case "groups":
            return f"The scope is the members of {len(scope.group_ids)} groups, nested ones included."
        case _:
            return "The scope is all users."


def _matched(data: UsersInput, object_id: str, operation: Operation | None) -> Step:
    link = data.links.get(object_id)
    if link is not None and not link.released:
        return Step("Matched to an extension?", "yes", f"Linked to extension {link.number}.")
    if operation is not None and operation.kind == "associate":
        return Step("Matched to an extension?", "yes", f"Extension {operation.number}, not linked so far.")
    if link is not None:
        return Step("Matched to an extension?", "no", f"Extension {link.number} was linked before and was released.")
    return Step("Matched to an extension?", "no", "There is no link, and no extension to associate.")


def _changes(data: UsersInput, object_id: str, operation: Operation | None, held: Held) -> Step:
    link = data.links.get(object_id)
    if operation is None and link is not None and link.leaving.since:
        return Step("What changes?", "nothing yet", forecast(link.leaving, data.rules.delete_grace_days))
    if operation is None:
        return Step(
            "What changes?", "nothing", "The extension is as it should be, or there is none and none is wanted."
        )
    if operation.object_id in held.object_ids:
        return Step("What changes?", f"{operation.kind}, held", f"{operation.reason} {held.reason}")
    fields = ", ".join(
        f"{name}: {operation.before.get(name, '')!r} becomes {value!r}" for name, value in operation.after.items()
    )
    return Step("What changes?", operation.kind, f"{operation.reason} {fields}".strip())
