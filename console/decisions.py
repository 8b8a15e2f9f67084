"""What the pages say before a connection is paused, resumed, disabled, enabled or ended."""

from typing import Literal

import msgspec

from store.health import Health
from store.links import Kind

type Action = Literal["pause", "resume", "disable", "enable", "disconnect"]

ACTIONS: tuple[Action, ...] = ("pause", "resume", "disable", "enable", "disconnect")
KINDS: tuple[Kind, ...] = ("users", "groups")
OBJECTS: dict[Kind, tuple[str, str]] = {
    "users": ("extension", "extensions"),
    "groups": ("extension group", "extension groups"),
}
PAUSED: dict[Kind, tuple[str, str]] = {
    "users": (
        "No user is synchronized any more: nobody is created, changed or deleted on the PBX.",
        "The rules for users stay as they are and cannot be changed meanwhile.",
    ),
    "groups": (
        "No group is synchronized any more: no extension group is created, changed or deleted on the PBX.",
        "The rules for groups stay as they are and cannot be changed meanwhile.",
    ),
}
RETURN = (
    "Deletions that were asked for before and are not made yet are not made any more.",
    "The guard holds deletions above its limits, as always.",
)
KEPT = "Unless you delete them here, they stay on the PBX; syncing again writes over what was changed by hand."
RELEASED = "Unless you delete them here, they stay on the PBX, which manages them alone from then on."


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A page that says what will happen before it does."""

    action: Action
    title: str
    effects: tuple[str, ...]
    """What will happen, one sentence each."""
    kinds: tuple[Kind, ...] = ()
    """What may be deleted with it."""
    keeps: str = ""
    """What becomes of that if it is not deleted."""
    done: str
    """What the next page says was done."""
    is_dangerous: bool = True
    deed: str
    """What the activity calls it."""


def decision(action: Action, kind: Kind) -> Decision:
    """The page about an action; ``kind`` is what is paused or resumed."""
    match action:
        case "pause":
            return Decision(
                action=action,
                title=f"Pause {kind}",
                effects=PAUSED[kind],
                kinds=(kind,),
                keeps=KEPT,
                done="paused",
                deed=f"{kind}.paused",
            )
        case "resume":
            groups = " Groups are gone through as well, so that extensions which come back enter them."
            first = f"A full run of {kind} starts at once and makes up for what changed meanwhile."
            return Decision(
                action=action,
                title=f"Resume {kind}",
                effects=(first + (groups if kind == "users" else ""), *RETURN),
                done="resumed",
                is_dangerous=False,
                deed=f"{kind}.resumed",
            )
        case "disable":
            return Decision(
                action=action,
                title="Disable the integration",
                effects=(
                    "Nothing is synchronized any more: neither by schedule nor by changes nor by hand.",
                    "The settings stay as they are and cannot be changed meanwhile.",
                ),
                kinds=KINDS,
                keeps=KEPT,
                done="disabled",
                deed="integration.disabled",
            )
        case "enable":
            return Decision(
                action=action,
                title="Enable the integration",
                effects=("Synchronization goes on with a full run of everything that is not paused.", *RETURN),
                done="enabled",
                is_dangerous=False,
                deed="integration.enabled",
            )
        case "disconnect":
            return Decision(
                action=action,
                title="Disconnect",
                effects=(
                    "The bridge forgets the connection: its settings and rules, what belongs together, its secrets.",
                    "Microsoft stops announcing changes. Past runs and the activity can still be read.",
                    "Everybody is signed out. Connecting anew takes the setup key.",
                ),
                kinds=KINDS,
                keeps=RELEASED,
                done="disconnected",
                deed="connection.ended",
            )


def obstacle(action: Action, kind: Kind, health: Health) -> str:
    """Why there is nothing to decide now; empty when there is."""
    if health.is_disconnecting and action != "disconnect":
        return "The connection is being ended. Wait until that is done."
    if action == "resume" and kind not in health.paused:
        return f"The synchronization of {kind} is not paused."
    if action == "enable" and not health.disabled:
        return "The integration is not disabled."
    return ""


def counted(kind: Kind, number: int) -> str:
    """As ``1 extension`` or ``23 extension groups``."""
    return f"{number:,} {OBJECTS[kind][number != 1]}"
