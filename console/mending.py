"""Why an administrator is needed, and the page where it is mended."""

import re

import msgspec

from console.plain import plain
from store.health import Health, Reason

type Link = tuple[str, str]
"""Label and address."""

CONNECT: Link = ("Complete the connection", "/connect")
CONNECTION: Link = ("Look at the connection", "/console/connection")
CREDENTIAL: Link = ("Replace the credential", "/console/connection")
IDS: Link = ("Correct the ids", "/connect")
MENDS: dict[str, Link] = {
    "setting_missing": CONNECT,
    "not_connected": CONNECT,
    "secret_missing": CONNECT,
    "secret_expires": CREDENTIAL,
    "entra_credentials_rejected": CREDENTIAL,
    "entra_secret_wrong": CREDENTIAL,
    "entra_secret_expired": CREDENTIAL,
    "entra_certificate_unknown": CREDENTIAL,
    "entra_tenant_unknown": IDS,
    "entra_application_unknown": IDS,
    "entra_ids_malformed": IDS,
    "pbx_credentials_rejected": ("Replace the secret", "/console/connection"),
    "graph_consent_missing": ("Grant the permissions", "/connect"),
    "sign_in_needed": ("Sign in again", "/connect"),
    "presence_sign_in_needed": ("Mend the account", "/connect"),
    "scope_group_missing": ("Change the rules for users", "/console/users"),
    "groups_unavailable": ("Change the rules for groups", "/console/groups"),
    "removal_incomplete": CONNECTION,
}
OUTSIDE = frozenset({"key_vault", "misconfigured", "storage_denied"})
"""Mended in the Azure portal; there is no page for it here."""
SIDES = ("entra", "graph", "pbx")
RUN = re.compile(r"\brun (?P<id>[0-9]{14}-[0-9a-z]+)")


class Mend(msgspec.Struct, frozen=True):
    """A reason in words for people, and the way to what mends it."""

    code: str
    message: str
    action: str
    since: str
    link: Link | None


def mend(reason: Reason, health: Health) -> Mend:
    """Where to go because of a reason. What has no page of its own is explained by the last run."""
    return Mend(reason.code, plain(reason.message), plain(reason.action), reason.since, _link(reason, health))


def _link(reason: Reason, health: Health) -> Link | None:
    named = RUN.search(reason.action)
    if reason.code.endswith("deletions_held"):
        run_id = named["id"] if named else health.last_run
        return ("Decide", f"/console/runs/{run_id}" if run_id else "/console/runs")
    if reason.code in OUTSIDE:
        return None
    if reason.code in MENDS:
        return MENDS[reason.code]
    if reason.code.startswith(SIDES):
        return CONNECTION
    return ("Look at the last run", f"/console/runs/{health.last_run}") if health.last_run else None
