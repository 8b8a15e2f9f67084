"""A file to attach to a support request: how the bridge is set up and how it fares, without anybody's data.

What is not known to be harmless is left out or replaced by a mark. The marks of one file agree with each other, so that
"the same user failed three times" can be read from it; those of two files do not, because each has a salt of its own.
"""

import datetime
import hashlib
import hmac
import platform
import re
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from store.audit import AuditStore, Entry
from store.document import Settings
from store.environment import ENTRA, GRAPH, Environment
from store.health import Health
from store.links import Kind
from store.runs import Fault, Run, RunItem
from sync.connection import Connection
from sync.status import Status, read_status

RUNS = 20
ITEMS = 100
"""Failed and held items of the newest run; of the others the counts do."""
ENTRIES = 100
KINDS: tuple[Kind, ...] = ("users", "groups")
PACKAGES = ("aiohttp", "azure-data-tables", "azure-functions", "azure-identity", "azure-keyvault-secrets",
            "cryptography", "Jinja2", "msal", "msgraph-sdk", "msgspec", "PyJWT", "starlette", "tzdata")  # fmt: skip

HARMLESS = frozenset({
    # of the settings
    "credential", "kind", "days", "at", "time_zone", "user_types", "group_types", "property", "delete_when",
    # of runs, their items and the status
    "id", "what", "task", "mode", "status", "started_by", "asked_by", "state", "code", "operation", "outcome",
    "decision", "decides", "resource", "action", "role", "paused", "run_id", "fields", "codes", "frames", "type",
})  # fmt: skip
"""Members whose texts come from fixed sets of words. All other texts become marks."""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
CODES = re.compile(r"AADSTS\d{4,8}|\berrcode \d{1,6}\b|\bHTTP \d{3}\b")
FRAME = re.compile(r'^  File "(?:[^"\n]*/)?([\w-]+/[\w-]+\.py)", line (\d+), in (\w+)$', re.MULTILINE | re.ASCII)
BUG = re.compile(r"a fault of the bridge itself: (\w+): ", re.ASCII)
MODEL = re.compile(r"[\w .+()-]{0,40}", re.ASCII)
SIMPLE = re.compile(r"[a-z0-9_.-]{1,60}", re.ASCII)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that the file is made from."""

    environment: Environment
    settings: Settings
    revision: int
    status: Status
    health: Health
    runs: Sequence[Run]
    items: Sequence[RunItem]
    """Of the newest run."""
    links: dict[str, int]
    """How many by kind and state."""
    entries: Sequence[Entry]


async def gather(connection: Connection, now: datetime.datetime) -> Facts:
    """Read what the file tells; neither Graph nor the PBX is asked."""
    stored = await connection.settings.load()
    runs = [run async for run in connection.runs.newest(RUNS)]
    return Facts(
        environment=connection.environment,
        settings=stored.settings,
        revision=stored.revision,
        status=await read_status(connection, now),
        health=await connection.health.load(),
        runs=runs,
        items=[item async for item in connection.runs.items(runs[0].id)] if runs else [],
        links=await _links(connection),
        entries=await AuditStore(connection.tables, connection.id).newest(ENTRIES),
    )


def compose(facts: Facts, salt: bytes, now: datetime.datetime) -> bytes:
    """The file, as JSON for people to read before they send it."""
    marks = Marks(salt)
    report = {
        "about": "Diagnostics of Entra Bridge. Names, addresses, numbers and ids are replaced by marks like #0a1b2c.",
        "made_at": now.isoformat(timespec="seconds"),
        "versions": versions(),
        "environment": _environment(facts.environment),
        "settings": {"revision": facts.revision, **marks.scrub(facts.settings)},
        "status": _status(facts.status, facts.health, marks),
        "links": facts.links,
        "runs": [_run(run, marks) for run in facts.runs],
        "newest_run": _items(facts.items, marks),
        "activity": [marks.scrub(_entry(entry)) for entry in facts.entries],
    }
    return msgspec.json.format(msgspec.json.encode(report), indent=2)


class Marks:
    """Replaces texts by marks that nobody can turn back without the salt, which is thrown away."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt

    def of(self, text: str) -> str:
        """The mark of a text, whatever its case; an empty text stays empty, for that something is missing matters."""
        if not text:
            return ""
        return f"#{hmac.new(self._salt, text.casefold().encode(errors='replace'), hashlib.sha256).hexdigest()[:12]}"

    def scrub(self, value: Any, name: str = "") -> Any:
        """The same data with marks for all texts that are not harmless."""
        if isinstance(value, msgspec.Struct):
            value = msgspec.to_builtins(value)
        if isinstance(value, dict):
            return {key: self.scrub(inner, key) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.scrub(inner, name) for inner in value]
        if isinstance(value, str) and name not in HARMLESS and not TIME.fullmatch(value):
            return self.of(value)
        return value


def versions() -> dict[str, str]:
    """Of Python, the system and the libraries that talk to others."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


async def _links(connection: Connection) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for kind in KINDS:
        async for link in connection.links(kind).all():
            counts[f"{kind}.{link.state}"] += 1
            counts[f"{kind}.leaving"] += bool(link.leaving_since)
            counts[f"{kind}.unsure"] += link.unsure
    return dict(counts)


def _environment(environment: Environment) -> dict[str, bool]:
    return {
        "key_vault_url": bool(environment.key_vault_url),
        "public_base_url_https": environment.public_base_url.startswith("https://"),
        "setup_key": bool(environment.setup_key),
        "managed_identity": environment.has_identity,
        "user_assigned_identity": bool(environment.identity_client_id),
        "storage_by_identity": bool(environment.storage.table_uri),
        "public_graph": environment.graph_base_url == f"{GRAPH}/v1.0",
        "public_entra": environment.entra_authority == ENTRA,
    }


def _status(status: Status, health: Health, marks: Marks) -> dict[str, Any]:
    return {
        "state": status.state,
        "reasons": [
            {"code": reason.code, "since": marks.scrub(reason.since), "codes": CODES.findall(reason.message)}
            for reason in status.reasons
        ],
        "paused": status.paused,
        "disabled": status.disabled,
        "next_run": status.next_run,
        "last_full_success": status.last_full_success,
        "counts": status.counts,
        "subscriptions": [
            {**marks.scrub(view), "codes": CODES.findall(view.last_error)} for view in status.subscriptions
        ],
        "secret_expiry": marks.scrub(status.secret_expiry),
        "secrets_stored": sorted(name for name in health.secrets if SIMPLE.fullmatch(name)),
        "pbx": {
            "model": _shown(status.pbx.model),
            "firmware": _shown(status.pbx.firmware),
            "serial": marks.of(status.pbx.serial),
            "read_at": status.pbx.read_at,
        },
        "capacity": marks.scrub(status.capacity),
        "held": {"users": len(health.held), "groups": len(health.held_groups)},
        "failures": health.failures,
        "retry_at": health.retry_at,
        "initial_pending": health.initial_pending,
        "last_scheduled": health.last_scheduled,
        "removal": marks.scrub(health.removal),
    }


def _run(run: Run, marks: Marks) -> dict[str, Any]:
    told = msgspec.to_builtins(run)
    for text in ("message", "explanation", "fault"):
        told.pop(text)
    return {**marks.scrub(told), "fault": None if run.fault is None else _fault(run.fault)}


def _fault(fault: Fault) -> dict[str, Any]:
    bug = BUG.match(fault.message)
    return {
        "code": fault.code,
        "codes": CODES.findall(fault.message),
        "type": bug[1] if bug else "",
        "frames": [f"{file}:{line} {name}" for file, line, name in FRAME.findall(fault.trace)],
    }


def _items(items: Sequence[RunItem], marks: Marks) -> dict[str, Any]:
    tally = Counter(f"{item.kind}.{item.operation}.{item.outcome}.{item.errcode or 0}" for item in items)
    notable = [item for item in items if item.outcome in {"failed", "held"}][:ITEMS]
    return {"tally": dict(tally), "notable": [marks.scrub(_item(item)) for item in notable]}


def _item(item: RunItem) -> dict[str, Any]:
    return {
        "object": item.object_id,
        "extension": item.extension,
        "kind": item.kind,
        "operation": item.operation,
        "outcome": item.outcome,
        "errcode": item.errcode,
        "at": item.at,
        "fields": sorted(name for name in {*item.before, *item.after} if SIMPLE.fullmatch(name)),
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {"at": entry.at, "who": entry.account, "role": entry.role, "action": entry.action}


def _shown(text: str) -> str:
    """What the PBX says about itself, if it looks like it."""
    return text if MODEL.fullmatch(text) else ""
