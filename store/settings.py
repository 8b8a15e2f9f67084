"""The stored settings document of one connection, with optimistic concurrency."""

import msgspec

from store.document import Microsoft, Pbx, Settings
from store.environment import Environment
from store.errors import AlreadyExists, InvalidRecord
from store.tables import Row, Tables, long_text

TABLE = "settings"
KEY = "document"


class Stored(msgspec.Struct, frozen=True):
    """A document with its revision, which counts the saves, and the storage's ETag."""

    settings: Settings
    revision: int
    etag: str

    @property
    def http_etag(self) -> str:
        """The ETag that the API shows."""
        return f'"{self.revision}"'


class SettingsStore:
    """Loads and saves the document of one connection."""

    def __init__(self, tables: Tables, connection: str, environment: Environment) -> None:
        self._tables = tables
        self._connection = connection
        self._environment = environment

    async def load(self) -> Stored:
        """The current document. On the first start it is made, pre-filled from the application settings."""
        row = await self._tables.get(TABLE, self._connection, KEY)
        if row is not None:
            return _stored(row)
        first = self.first
        try:
            etag = await self._tables.create(TABLE, self._row(first, 1))
        except AlreadyExists:
            return await self.load()  # another instance started at the same moment
        return Stored(first, 1, etag)

    async def save(self, settings: Settings, base: Stored) -> Stored:
        """Replace the document that ``base`` was; ``Changed`` when somebody saved in between."""
        revision = base.revision + 1
        etag = await self._tables.replace(TABLE, self._row(settings, revision), base.etag)
        return Stored(settings, revision, etag)

    async def reset(self) -> None:
        """Go back to the document of the first start. It gets a new revision: nobody's ETag is good any more."""
        base = await self.load()
        await self.save(self.first, base)

    @property
    def first(self) -> Settings:
        """The document of the first start, pre-filled from the application settings."""
        env = self._environment
        return Settings(
            microsoft=Microsoft(tenant_id=env.tenant_id, client_id=env.client_id),
            pbx=Pbx(fqdn=env.pbx_fqdn, client_id=env.pbx_client_id),
        )

    def _row(self, settings: Settings, revision: int) -> Row:
        columns = long_text(msgspec.json.encode(settings).decode())
        return Row(self._connection, KEY, {"revision": revision, **columns})


def _stored(row: Row) -> Stored:
    try:
        settings = msgspec.json.decode(row.text(), type=Settings)
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"the stored settings do not decode: {error}") from error
    return Stored(settings, int(row.values["revision"]), row.etag)
