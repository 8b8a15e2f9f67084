"""Access keys: who may call a function (``authLevel``) and the admin endpoints.

Public source: "Work with access keys in Azure Functions" on learn.microsoft.com.
"""

import hmac
import secrets
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from local.host.config import ConfigError

VARIABLE = "FUNCTIONS_HOST_KEYS"


class Level(StrEnum):
    """``authLevel`` of an HTTP trigger."""

    ANONYMOUS = "anonymous"
    FUNCTION = "function"
    ADMIN = "admin"


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of one host: ``function`` opens every function, ``functions`` one each, ``master`` everything."""

    master: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(24))
    function: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(24))
    functions: dict[str, str] = {}

    def __post_init__(self) -> None:
        if not (self.master and self.function and all(self.functions.values())):
            raise ValueError("a key is empty")

    def allow(self, level: Level, function: str, given: str | None) -> bool:
        """Whether ``given`` (None: no key was sent) opens a function of that level. Takes the same time for any key."""
        if level is Level.ANONYMOUS:
            return True
        if given is None:
            return False
        return self._allow(level, function, given.encode(errors="surrogateescape"))

    def _allow(self, level: Level, function: str, given: bytes) -> bool:
        accepted = hmac.compare_digest(given, self.master.encode())
        if level is Level.FUNCTION:
            own = self.functions.get(function)
            accepted |= hmac.compare_digest(given, self.function.encode())
            accepted |= own is not None and hmac.compare_digest(given, own.encode())
        return accepted


def load(settings: Mapping[str, str]) -> Keys:
    """The keys of the setting FUNCTIONS_HOST_KEYS; missing ones are random. Raises ConfigError."""
    try:
        return msgspec.json.decode(settings.get(VARIABLE) or "{}", type=Keys)
    except msgspec.DecodeError as error:
        example = '{"master": "...", "function": "...", "functions": {"name": "..."}}'
        raise ConfigError(f"{VARIABLE} must be JSON such as {example}: {error}") from error
