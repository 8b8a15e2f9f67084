"""Checks a settings document that somebody sends: every fault with its path, in plain words, all at once."""

import functools
import re
import zoneinfo
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from store.document import Settings

GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
HOST = re.compile(
    r"(?=.{1,253}(:|$))[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
    r"(:[0-9]{1,5})?"
)
CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
MAX_BYTES = 400_000
"""Of a document; one record of Table Storage takes a little more."""
NUMBER_PROPERTIES = (
    "businessPhones", "mobilePhone", "faxNumber", "employeeId", "officeLocation", "department", "postalCode",
    "mailNickname", "onPremisesSamAccountName",
    *(f"onPremisesExtensionAttributes.extensionAttribute{index}" for index in range(1, 16)),
)  # fmt: skip
"""Text properties of a user that may hold an extension number
(https://learn.microsoft.com/graph/api/resources/user)."""

TYPE_WORDS = {
    "object": "an object", "array": "a list", "string": "a text", "boolean": "true or false", "null": "null",
    "integer": "a whole number", "number": "a number",
}  # fmt: skip


class Problem(msgspec.Struct, frozen=True):
    """One fault of a document: where (a JSON pointer) and what, with what would be right."""

    path: str
    message: str


class InvalidSettings(ValueError):
    """The document was refused; nothing was saved."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{problem.path}: {problem.message}" for problem in problems))
        self.problems = tuple(problems)


def parse_settings(body: bytes) -> Settings:
    """Decode a document; ``InvalidSettings`` lists every unknown or wrong member. What is left out is the default."""
    if len(body) > MAX_BYTES:
        raise InvalidSettings([Problem("", f"has to be at most {MAX_BYTES:,} bytes")])
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidSettings([Problem("", f"this is not JSON: {error}")]) from error
    faults = list(_schema_faults(data))
    problems = [problem for _, problem in faults]
    settings = _rest(data, [path for path, _ in faults])
    if settings is not None:
        problems += _further(settings, faults)
    if problems or settings is None:
        raise InvalidSettings(problems)
    return settings.value


def settings_schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of the document."""
    return msgspec.json.schema(Settings)


type Path = tuple[str | int, ...]


class _Rest(msgspec.Struct, frozen=True):
    """What a document says without its faulty members, and where the remaining entries of lists were."""

    value: Settings
    positions: dict[Path, list[int]]

    def origin(self, pointer: str) -> str:
        """``pointer`` into the document as it was sent."""
        parent, _, last = pointer.rpartition("/")
        kept = self.positions.get(tuple(parent.split("/")[1:]))
        return f"{parent}/{kept[int(last)]}" if kept is not None and last.isdecimal() else pointer


def _rest(data: Any, faults: Sequence[Path]) -> _Rest | None:
    """The document without what is at ``faults``, so that the rules can be checked on the rest in the same go."""
    if () in faults:
        return None
    positions: dict[Path, list[int]] = {}
    kept = _without(data, (), frozenset(faults), positions)
    # Not strict: to JSON 1000.0 is as whole a number as 1000. The schema has seen to all other types.
    return _Rest(msgspec.convert(kept, Settings, strict=False), positions)


def _without(value: Any, path: Path, faults: frozenset[Path], positions: dict[Path, list[int]]) -> Any:
    if isinstance(value, dict):
        kept = {name: item for name, item in value.items() if (*path, name) not in faults}
        return {name: _without(item, (*path, name), faults, positions) for name, item in kept.items()}
    if isinstance(value, list):
        positions[path] = [index for index in range(len(value)) if (*path, index) not in faults]
        return [value[index] for index in positions[path]]
    return value


def _further(rest: _Rest, faults: Sequence[tuple[Path, Problem]]) -> Iterator[Problem]:
    """The problems of the rules that are no mere consequence of a fault at the same place, above or below it."""
    for problem in _rule_problems(rest.value):
        path = rest.origin(problem.path)
        if not any(_same_branch(path, fault.path) for _, fault in faults):
            yield Problem(path, problem.message)


def _same_branch(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _schema_faults(data: Any) -> Iterator[tuple[Path, Problem]]:
    from jsonschema import Draft202012Validator

    for error in Draft202012Validator(settings_schema()).iter_errors(data):
        for path, message in _explained(error):
            yield path, Problem("".join(f"/{_escape(str(part))}" for part in path), message)


def _explained(error: Any) -> Iterator[tuple[Path, str]]:
    path = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        for name in sorted(set(error.instance) - set(error.schema["properties"])):
            yield (*path, name), "there is no such member"
    elif error.validator == "anyOf" and error.context:
        wanted = sorted(str(part["type"]) for part in error.validator_value if "type" in part)
        yield path, f"has to be {' or '.join(TYPE_WORDS[word] for word in wanted)}"
    else:
        yield path, _words(error)


def _words(error: Any) -> str:
    limit = error.validator_value
    match error.validator:
        case "type":
            return f"has to be {TYPE_WORDS[limit]}"
        case "enum":
            return f"has to be one of {', '.join(str(value) for value in limit)}"
        case "minimum":
            return f"has to be {limit} or more"
        case "maximum":
            return f"has to be {limit} or less"
        case "exclusiveMinimum":
            return f"has to be more than {limit}"
        case _:
            return str(error.message)


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _rule_problems(settings: Settings) -> Iterator[Problem]:
    yield from _connection_problems(settings)
    yield from _schedule_problems(settings)
    yield from _user_problems(settings)
    yield from _group_problems(settings)
    yield from _presence_problems(settings)


def _connection_problems(settings: Settings) -> Iterator[Problem]:
    microsoft, pbx = settings.microsoft, settings.pbx
    if microsoft.tenant_id and not GUID.fullmatch(microsoft.tenant_id) and not _is_domain(microsoft.tenant_id):
        yield Problem("/microsoft/tenant_id", "has to be the directory (tenant) id, a GUID, or a domain of the tenant")
    if microsoft.client_id and not GUID.fullmatch(microsoft.client_id):
        yield Problem("/microsoft/client_id", "has to be the application (client) id, a GUID")
    if pbx.fqdn and (not HOST.fullmatch(pbx.fqdn) or not _port_fits(pbx.fqdn)):
        yield Problem(
            "/pbx/fqdn", "has to be a name with or without a port, as pbx.example.com or pbx.example.com:8088"
        )
    if pbx.ca_certificate is not None and "PRIVATE KEY" in pbx.ca_certificate:
        yield Problem("/pbx/ca_certificate", "holds a private key; give the certificate alone")
    elif pbx.ca_certificate is not None and not _is_certificate(pbx.ca_certificate):
        yield Problem(
            "/pbx/ca_certificate", "has to be a certificate in PEM form (-----BEGIN CERTIFICATE-----) or null"
        )


def _is_domain(name: str) -> bool:
    return "." in name and ":" not in name and HOST.fullmatch(name) is not None


def _port_fits(fqdn: str) -> bool:
    _, _, port = fqdn.partition(":")
    return not port or 1 <= int(port) <= 65_535


def _is_certificate(pem: str) -> bool:
    from cryptography import x509

    try:
        return "-----BEGIN CERTIFICATE-----" in pem and bool(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError:
        return False


def _schedule_problems(settings: Settings) -> Iterator[Problem]:
    schedule = settings.schedule
    if not CLOCK.fullmatch(schedule.at):
        yield Problem("/schedule/at", "has to be a time of day as 00:30")
    if schedule.time_zone not in _time_zones():
        yield Problem("/schedule/time_zone", "has to be a time zone of the IANA database, as Europe/Amsterdam")
    if schedule.kind == "weekly" and not schedule.days:
        yield Problem("/schedule/days", "has to name at least one day when the schedule is weekly")
    yield from _repeated("/schedule/days", schedule.days)


@functools.cache
def _time_zones() -> set[str]:
    return zoneinfo.available_timezones()  # walks a folder of 600 files


def _user_problems(settings: Settings) -> Iterator[Problem]:
    users = settings.users
    yield from _scope_problems("/users/scope", users.scope.kind, users.scope.group_ids)
    if users.scope.kind == "types" and not users.scope.user_types:
        yield Problem("/users/scope/user_types", "has to name Member, Guest or both when the scope is by type")
    yield from _repeated("/users/scope/user_types", users.scope.user_types)
    yield from _repeated("/users/delete_when", users.delete_when)
    if users.number.kind == "property" and users.number.property is None:
        yield Problem("/users/number/property", "has to name the property that holds the extension number")
    if users.number.property is not None and users.number.property not in NUMBER_PROPERTIES:
        yield Problem("/users/number/property", f"has to be one of {', '.join(NUMBER_PROPERTIES)}")


def _group_problems(settings: Settings) -> Iterator[Problem]:
    groups = settings.groups
    yield from _scope_problems("/groups/scope", groups.scope.kind, groups.scope.group_ids)
    if groups.scope.kind == "types" and not groups.scope.group_types:
        yield Problem(
            "/groups/scope/group_types", "has to name security, microsoft365 or both when the scope is by type"
        )
    yield from _repeated("/groups/scope/group_types", groups.scope.group_types)


def _presence_problems(settings: Settings) -> Iterator[Problem]:
    yield from _scope_problems("/presence", settings.presence.users, settings.presence.group_ids)


def _scope_problems(path: str, kind: str, group_ids: Sequence[str]) -> Iterator[Problem]:
    if kind == "groups" and not group_ids:
        yield Problem(f"{path}/group_ids", "has to name at least one group when the scope is by group")
    for index, group_id in enumerate(group_ids):
        if not GUID.fullmatch(group_id):
            yield Problem(f"{path}/group_ids/{index}", "has to be the object id of a group, a GUID")
    yield from _repeated(f"{path}/group_ids", [group_id.lower() for group_id in group_ids])


def _repeated(path: str, values: Sequence[str]) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield Problem(f"{path}/{index}", "is in the list already")
        seen.add(value)
