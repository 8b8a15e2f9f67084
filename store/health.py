"""What the bridge remembers about a connection between runs: reasons for attention, facts about the PBX, first runs."""

from collections.abc import Callable
from typing import Literal

import msgspec

from store.errors import AlreadyExists, Changed, InvalidRecord
from store.links import Kind
from store.tables import Row, Tables, long_text

TABLE = "settings"
KEY = "health"
TRIES = 20
SIGN_IN_NEEDED = "sign_in_needed"
"""The reason for attention while Entra does not accept the authorization account's token any more."""
FURTHER_SIGN_IN_NEEDED = "presence_sign_in_needed"
"""The same about further accounts, in whose names presence is announced."""


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an administrator is needed: a code for machines, plain words for people."""

    code: str
    message: str
    action: str = ""
    since: str = ""


class PbxFacts(msgspec.Struct, frozen=True):
    """What the PBX last said about itself."""

    model: str = ""
    firmware: str = ""
    serial: str = ""
    extension_capacity: int | None = None
    extension_used: int | None = None
    read_at: str = ""


class Deletions(msgspec.Struct, frozen=True):
    """Deletions that one run set out to make."""

    at: str
    number: int
    run_id: str
    kind: Kind = "users"


type Decisions = dict[str, Literal["open", "rejected"]]
"""Object ids whose removal is held, and whether an administrator rejected it."""


class Removal(msgspec.Struct, frozen=True):
    """Deletions that an administrator asked for and that are not all confirmed yet."""

    what: list[Kind] = []
    """What is still to be deleted; a disconnection that deletes nothing has an empty list."""
    asked_by: Literal["pause", "disable", "disconnect"] = "pause"
    """``disconnect``: when nothing is left to delete, the connection is forgotten."""
    failures: int = 0
    """Runs about it that failed one after another."""
    next_try_at: str = ""
    """When it is tried again (RFC 3339, UTC); empty: as soon as possible."""


class Health(msgspec.Struct, frozen=True):
    """The memory of one connection."""

    reasons: list[Reason] = []
    pbx: PbxFacts | None = None
    secrets: dict[str, str] = {}
    """Secrets known to be in the Key Vault, with the version last seen."""
    secret_expires_at: str | None = None
    """When the application's credential in use runs out, as far as Graph lets us read it."""
    secret_checked_at: str | None = None
    expiry_told: int = 0
    """The last day count before the credential's end that the log was told of; 0: none."""
    tenant: list[str] = []
    """The names of the tenant that the links come from, in lower case: as in the settings, and its id."""
    initial_pending: bool = False
    """Users or groups were enabled and the first run has not succeeded yet."""
    last_run: str | None = None
    last_full_success: str | None = None
    """When a full run last succeeded (RFC 3339, UTC)."""
    last_scheduled: str | None = None
    """The scheduled time that was last served (RFC 3339, UTC)."""
    counts: dict[str, int] = {}
    """Linked objects by kind, as of the last run."""
    held: Decisions = {}
    """Users whose removal is held."""
    held_groups: Decisions = {}
    """Groups whose removal is held."""
    deletions: list[Deletions] = []
    """Deletions of the last day that nobody had to approve."""
    failures: int = 0
    """Runs that failed one after another."""
    retry_at: str | None = None
    """When a failed run is tried again by itself (RFC 3339, UTC)."""
    paused: list[Kind] = []
    """What an administrator paused: settings are read-only, nothing is written."""
    disabled: bool = False
    """The whole integration is switched off for the time being."""
    removal: Removal | None = None
    """Deletions under way on an administrator's demand, or a disconnection."""

    @property
    def is_disconnecting(self) -> bool:
        return self.removal is not None and self.removal.asked_by == "disconnect"

    def waiting(self, kind: Kind) -> Decisions:
        """What of this kind is held."""
        return self.held_groups if kind == "groups" else self.held


class HealthStore:
    """The memory of one connection, changed by compare-and-swap."""

    def __init__(self, tables: Tables, connection: str) -> None:
        self._tables = tables
        self._connection = connection

    async def load(self) -> Health:
        health, _ = await self.load_with_etag()
        return health

    async def load_with_etag(self) -> tuple[Health, str]:
        """The memory and its ETag, which is empty before the first write."""
        row = await self._tables.get(TABLE, self._connection, KEY)
        if row is None:
            return Health(), ""
        try:
            return msgspec.json.decode(row.text(), type=Health), row.etag
        except msgspec.DecodeError as error:
            raise InvalidRecord(f"the state of the connection does not decode: {error}") from error

    async def update(self, change: Callable[[Health], Health], known: tuple[Health, str] | None = None) -> Health:
        """Apply ``change`` to the newest state; it may be called again when somebody else wrote meanwhile.

        ``known`` is what ``load_with_etag`` answered before: it saves reading again when nobody wrote since.
        """
        for _ in range(TRIES):
            health, etag = known or await self.load_with_etag()
            known = None
            changed = change(health)
            if changed == health:
                return health
            try:
                await self._save(changed, etag)
            except (AlreadyExists, Changed):
                continue
            return changed
        raise Changed("the state of the connection is being changed all the time; try again")

    async def drop_reasons(self, *codes: str) -> None:
        """What these reasons told of is over."""

        def change(health: Health) -> Health:
            left = [reason for reason in health.reasons if reason.code not in codes]
            return msgspec.structs.replace(health, reasons=left)

        await self.update(change)

    async def clear(self) -> None:
        """Forget everything."""
        await self._tables.delete(TABLE, self._connection, KEY)

    async def _save(self, health: Health, etag: str) -> None:
        row = Row(self._connection, KEY, long_text(msgspec.json.encode(health).decode()))
        if etag:
            await self._tables.replace(TABLE, row, etag)
        else:
            await self._tables.create(TABLE, row)
