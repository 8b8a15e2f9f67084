"""What signing in needs of one connection."""

import msgspec

from store.environment import Environment
from store.health import HealthStore
from store.secrets import SecretStore
from store.settings import SettingsStore
from store.tables import Tables


class Place(msgspec.Struct, frozen=True):
    """One connection as this room sees it. Cheap to make: everything in it belongs to somebody else, who closes it."""

    id: str
    environment: Environment
    tables: Tables
    secrets: SecretStore
    settings: SettingsStore
    health: HealthStore
