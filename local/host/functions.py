"""What the app declares, as typed triggers and outputs. Anything this host cannot run is an error at start, by name."""

from dataclasses import dataclass
from typing import Any

import msgspec

from local.host import ncrontab
from local.host.config import Config, ConfigError
from local.host.keys import Level
from local.host.wire import Function


@dataclass(frozen=True, slots=True)
class QueueOutput:
    """Messages set on ``argument`` (``$return``: returned) go to ``queue`` of the storage account ``connection``."""

    argument: str
    queue: str
    connection: str


@dataclass(frozen=True, slots=True)
class HttpTrigger:
    """``route`` is relative to the prefix; no methods means every method."""

    route: str
    methods: frozenset[str]
    level: Level


@dataclass(frozen=True, slots=True)
class TimerTrigger:
    """``text`` is the resolved expression of ``schedule``."""

    text: str
    schedule: ncrontab.Schedule
    run_on_startup: bool
    use_monitor: bool


@dataclass(frozen=True, slots=True)
class QueueTrigger:
    """``connection`` is a connection string."""

    queue: str
    connection: str


type Trigger = HttpTrigger | TimerTrigger | QueueTrigger


@dataclass(frozen=True, slots=True)
class Entry:
    """A function ready to be run: ``argument`` is the trigger's."""

    name: str
    id: str
    argument: str
    trigger: Trigger
    outputs: tuple[QueueOutput, ...]
    has_retry: bool = False
    is_disabled: bool = False


class _Binding(msgspec.Struct):
    """The members of a binding that any of ours may have; names are matched in lower case."""

    type: str
    name: str
    direction: str = "in"
    route: str | None = None
    methods: list[str] | None = None
    authlevel: str = "function"
    schedule: str = ""
    runonstartup: bool = False
    usemonitor: bool = True
    queuename: str = ""
    connection: str = "AzureWebJobsStorage"


def read(function: Function, config: Config) -> Entry:
    """The function's trigger and outputs. Raises ConfigError naming the function and what is wrong."""
    bindings = [_binding(text) for text in function.bindings]
    triggers = [one for one in bindings if one.type.lower().endswith("trigger")]
    if len(triggers) != 1:
        raise ConfigError(f"function {function.name!r} has {len(triggers)} triggers, not one")
    is_disabled = config.is_disabled(function.name)
    outputs = tuple(_output(one, function.name, config) for one in bindings if _is_output(one, function.name))
    trigger = _trigger(triggers[0], function.name, config)
    return Entry(function.name, function.id, triggers[0].name, trigger, outputs, function.has_retry, is_disabled)


def _binding(text: str) -> _Binding:
    members: dict[str, Any] = msgspec.json.decode(text)
    return msgspec.convert({name.lower(): value for name, value in members.items() if value is not None}, _Binding)


def _is_output(binding: _Binding, function: str) -> bool:
    kind = binding.type.lower()
    if kind.endswith("trigger") or kind == "http":
        return False
    if kind != "queue" or binding.direction.lower() != "out":
        raise ConfigError(f"function {function!r}: this host does not know the binding {binding.type!r}")
    return True


def _trigger(binding: _Binding, function: str, config: Config) -> Trigger:
    kind = binding.type.lower()
    where = f"function {function!r}"
    if kind == "httptrigger":
        methods = frozenset(one.upper() for one in binding.methods or ())
        return HttpTrigger(function if binding.route is None else binding.route, methods, _level(binding, where))
    if kind == "timertrigger":
        text = config.resolve(binding.schedule, where)
        try:
            schedule = ncrontab.parse(text)
        except ValueError as error:
            raise ConfigError(f"{where}: schedule {text!r}: {error}") from error
        return TimerTrigger(text, schedule, binding.runonstartup, binding.usemonitor)
    if kind == "queuetrigger":
        return QueueTrigger(_queue(binding, where, config), config.connection_string(binding.connection, where))
    raise ConfigError(f"{where}: this host does not know the trigger {binding.type!r}")


def _level(binding: _Binding, where: str) -> Level:
    try:
        return Level(binding.authlevel.lower())
    except ValueError as error:
        raise ConfigError(f"{where}: authLevel {binding.authlevel!r}") from error


def _output(binding: _Binding, function: str, config: Config) -> QueueOutput:
    where = f"function {function!r}"
    connection = config.connection_string(binding.connection, where)
    return QueueOutput(binding.name, _queue(binding, where, config), connection)


def _queue(binding: _Binding, where: str, config: Config) -> str:
    name = config.resolve(binding.queuename, where).lower()
    if "{" in name:
        raise ConfigError(f"{where}: this host does not fill in binding expressions such as {name!r}")
    if not name:
        raise ConfigError(f"{where}: the binding {binding.name!r} has no queue name")
    return name
