"""host.json and app settings as typed options.

Names and defaults: "host.json reference for Azure Functions 2.x and later" and "Azure Queue storage trigger and
bindings" on learn.microsoft.com. A setting ``AzureFunctionsJobHost__a__b`` overrides the member ``a.b``.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from local.errors import LocalCloudError

_OVERRIDE = "azurefunctionsjobhost__"
_TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,7}))?)?")
_SETTING = re.compile(r"%([^%]+)%")


class ConfigError(LocalCloudError):
    """host.json, a setting or a binding cannot be used; the message names it."""


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """``extensions.http``."""

    route_prefix: str = "api"
    """In front of every route; may be empty."""
    max_outstanding: int = -1
    """Requests in flight above which the answer is 429; -1 is no limit."""


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """``extensions.queues``; times in seconds."""

    batch_size: int = 16
    """Messages fetched at once, 1-32."""
    new_batch_threshold: int = 8
    """Fetch again once no more than this many are being handled; half the batch size by default."""
    visibility_timeout: float = 0.0
    """How long a failed message stays invisible."""
    max_polling_interval: float = 60.0
    """The longest wait between two looks at an empty queue."""
    max_dequeue_count: int = 5
    """Failed attempts after which a message goes to the poison queue."""
    base64: bool = True
    """``messageEncoding``: base64, or none."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the host reads about one app."""

    app_dir: Path
    settings: Mapping[str, str]
    """App settings: the environment."""
    http: HttpOptions = field(default_factory=HttpOptions)
    queues: QueueOptions = field(default_factory=QueueOptions)
    function_timeout: float | None = 1800.0
    """Seconds; None is unlimited."""
    only: frozenset[str] | None = None
    """``functions``: the only ones to load, when given."""

    def resolve(self, text: str, where: str) -> str:
        """``text`` with every ``%NAME%`` replaced by that app setting. Raises ConfigError naming what is missing."""

        def one(match: re.Match[str]) -> str:
            value = self.settings.get(match[1])
            if value is None:
                raise ConfigError(f"{where} wants the app setting {match[1]!r}, which is not set")
            return value

        return _SETTING.sub(one, text)

    def connection_string(self, name: str, where: str) -> str:
        """The storage connection string that a binding's ``connection`` names. Raises ConfigError without one."""
        name = name or "AzureWebJobsStorage"
        value = self.settings.get(name) or self.settings.get(f"AzureWebJobs{name}")
        if not value:
            raise ConfigError(f"{where} wants the app setting {name!r}: a storage connection string, which is not set")
        return value

    def is_disabled(self, function: str) -> bool:
        """Whether ``AzureWebJobs.<name>.Disabled`` or host.json's ``functions`` switches the function off."""
        if self.only is not None and function.lower() not in self.only:
            return True
        return self.settings.get(f"AzureWebJobs.{function}.Disabled", "").lower() in {"1", "true"}

    @property
    def host_id(self) -> str:
        """Under which timers keep their state: ``AzureFunctionsWebHost__hostid`` or a digest of the app's path."""
        given = self.settings.get("AzureFunctionsWebHost__hostid")
        return given or hashlib.sha256(str(self.app_dir).encode()).hexdigest()[:32]


def load(app_dir: Path, settings: Mapping[str, str] | None = None) -> Config:
    """Read ``app_dir``/host.json under ``settings`` (default: the environment). Raises ConfigError."""
    settings = dict(os.environ) if settings is None else settings
    document = _document(app_dir / "host.json")
    for name, value in settings.items():
        if name.lower().startswith(_OVERRIDE):
            _override(document, name[len(_OVERRIDE) :].split("__"), value)
    try:
        return _config(app_dir.resolve(), settings, document)
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"host.json of {app_dir}: {error}") from error


def time_span(text: str) -> float:
    """Seconds of a .NET TimeSpan such as ``00:00:02`` or ``1.00:00:00``. Raises ValueError."""
    match = _TIME_SPAN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no time span such as 00:00:30")
    days, hours, minutes, seconds, fraction = match.groups(default="0")
    whole = ((int(days) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)
    return whole + int(fraction.ljust(7, "0")) / 10_000_000


def _document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"there is no {path}: is this the folder of a Functions app?")
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is no JSON object: {error}") from error


def _override(document: dict[str, Any], path: list[str], value: str) -> None:
    for part in path[:-1]:
        key = _key(document, part)
        inner = document.get(key)
        if not isinstance(inner, dict):
            inner = document[key] = {}
        document = inner
    document[_key(document, path[-1])] = value


def _key(document: Mapping[str, Any], name: str) -> str:
    """The member's own spelling: overrides ignore case."""
    return next((key for key in document if key.lower() == name.lower()), name)


def _section(document: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    for part in path:
        document = document.get(_key(document, part), {})
    return document


def _config(app_dir: Path, settings: Mapping[str, str], document: Mapping[str, Any]) -> Config:
    http, queues = _section(document, "extensions", "http"), _section(document, "extensions", "queues")
    timeout = str(document.get("functionTimeout", "00:30:00"))
    only = document.get("functions")
    return Config(
        app_dir,
        settings,
        HttpOptions(str(http.get("routePrefix", "api")).strip("/"), int(http.get("maxOutstandingRequests", -1))),
        _queue_options(queues),
        None if timeout in {"-1", "-00:00:01"} else time_span(timeout),
        None if only is None else frozenset(name.lower() for name in only),
    )


def _queue_options(queues: Mapping[str, Any]) -> QueueOptions:
    batch = int(queues.get("batchSize", 16))
    if not 1 <= batch <= 32:
        raise ValueError(f"extensions.queues.batchSize is {batch}, not 1-32")
    encoding = str(queues.get("messageEncoding", "base64")).lower()
    if encoding not in {"base64", "none"}:
        raise ValueError(f"extensions.queues.messageEncoding is {encoding!r}, not base64 or none")
    return QueueOptions(
        batch_size=batch,
        new_batch_threshold=int(queues.get("newBatchThreshold", batch // 2)),
        visibility_timeout=time_span(str(queues.get("visibilityTimeout", "00:00:00"))),
        max_polling_interval=time_span(str(queues.get("maxPollingInterval", "00:01:00"))),
        max_dequeue_count=int(queues.get("maxDequeueCount", 5)),
        base64=encoding == "base64",
    )
