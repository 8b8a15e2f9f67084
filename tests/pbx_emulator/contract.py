"""Replays recorded requests against the OpenAPI document of the PBX, and answers too.

The document is the judge here, not the emulator: what the emulator overlooks is found by this.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import msgspec
import yaml
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from local.emulator import Recorded

PREFIX = "/openapi/v1.0"
SPEC = Path(__file__).parents[3] / "shared" / "reference" / "yeastar-openapi.yaml"
"""Where the document lies beside a checkout of this repository."""
TOKEN = "access_token"
DOCUMENT = "urn:yeastar-openapi"
ALTERNATIVE = "x-alternate-path"
VERBS = ("get", "post", "put", "patch", "delete")


class Request(Protocol):
    """The part of ``Recorded`` that is checked."""

    @property
    def number(self) -> int: ...
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query(self) -> Mapping[str, str]: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> str: ...


def check_recorded(requests: Sequence[Request], spec_path: Path) -> list[str]:
    """Every way in which ``requests`` break the document, in plain words; no value that was sent is repeated.

    Undeclared query parameters and body members are violations even where the document tolerates them. A path in the
    spelling that the document calls alternative is held against the operations of the documented one.
    """
    contract = load_contract(spec_path)
    return [
        f"#{request.number} {request.method} {request.path}: {violation}"
        for request in requests
        for violation in contract.request_violations(request)
    ]


def read_journal(path: Path) -> list[Recorded]:
    """The requests of an emulator's journal, up to the last whole line: somebody may be writing the next."""
    lines = path.read_bytes().rpartition(b"\n")[0].splitlines()
    return [msgspec.json.decode(line, type=Recorded) for line in lines]


class Contract:
    """The document, ready for checking."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        resource = Resource.from_contents(document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(DOCUMENT, resource)
        self._validators: dict[str, Draft202012Validator] = {}
        self._alternatives: dict[str, str] = {
            operation[ALTERNATIVE]: path
            for path, item in document["paths"].items()
            for operation in item.values()
            if ALTERNATIVE in operation
        }

    def validator(self, pointer: str) -> Draft202012Validator:
        """A validator for the schema at the JSON pointer ``pointer`` of the document."""
        if pointer not in self._validators:
            self._validators[pointer] = Draft202012Validator(
                {"$ref": f"{DOCUMENT}#{pointer}"}, registry=self._registry, format_checker=FormatChecker()
            )
        return self._validators[pointer]

    def request_violations(self, request: Request) -> Iterator[str]:
        item = self._path_item(request.path)
        if item is None:
            yield "the path is not documented"
            return
        operation = item.get(request.method.lower())
        if operation is None:
            yield f"the path takes {', '.join(verb.upper() for verb in VERBS if verb in item)}"
            return
        yield from self._header_violations(operation, request)
        yield from self._query_violations(operation, request)
        yield from self._body_violations(operation, request)

    def answer_violations(self, method: str, path: str, answer: Any) -> list[str]:
        """How an answer breaks the response schema of its operation; of any operation when there is none."""
        item = self._path_item(path) or {}
        pointer = f"{self._operation_pointer(method, path)}/responses/200/content/application~1json/schema"
        if method.lower() not in item:
            pointer = "/components/schemas/BaseResponse"
        return [_explained(error) for error in self.validator(pointer).iter_errors(answer)]

    def undeclared(self, schema: dict[str, Any], value: Any, where: str = "") -> Iterator[str]:
        """The members of ``value`` that ``schema`` does not name, ``additionalProperties`` or not."""
        resolved = self._resolved(schema)
        if isinstance(value, list):
            for index, entry in enumerate(value):
                yield from self.undeclared(resolved.get("items", {}), entry, f"{where}[{index}]")
        properties = resolved.get("properties")
        if not isinstance(value, dict) or properties is None:
            return
        for name, content in value.items():
            full = f"{where}.{name}" if where else name
            if name in properties:
                yield from self.undeclared(properties[name], content, full)
            else:
                yield full

    def _path_item(self, path: str) -> dict[str, Any] | None:
        if not path.startswith(f"{PREFIX}/"):
            return None
        item: dict[str, Any] | None = self.document["paths"].get(self._documented(path))
        return item

    def _documented(self, path: str) -> str:
        """The path below the API in the spelling of the document."""
        below = path.removeprefix(PREFIX)
        return self._alternatives.get(below, below)

    def _operation_pointer(self, method: str, path: str) -> str:
        return f"/paths/{self._documented(path).replace('/', '~1')}/{method.lower()}"

    def _parameters(self, operation: dict[str, Any], place: str) -> dict[str, dict[str, Any]]:
        resolved = [self._resolved(parameter) for parameter in operation.get("parameters", [])]
        return {parameter["name"]: parameter for parameter in resolved if parameter["in"] == place}

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            target: Any = self.document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            schema = target
        return schema

    def _header_violations(self, operation: dict[str, Any], request: Request) -> Iterator[str]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        for name, parameter in self._parameters(operation, "header").items():
            if parameter.get("required") and not headers.get(name.lower(), "").strip():
                yield f"the header {name} is missing or empty"
        if "authorization" in headers:
            yield "the token belongs into the query, not into the header Authorization"

    def _query_violations(self, operation: dict[str, Any], request: Request) -> Iterator[str]:
        declared = self._parameters(operation, "query")
        wants_token = operation.get("security", self.document["security"]) != []
        if wants_token and not request.query.get(TOKEN):
            yield "the query parameter access_token is missing"
        for name, parameter in declared.items():
            if parameter.get("required") and name not in request.query:
                yield f"the query parameter {name} is missing"
        for name, text in request.query.items():
            if name == TOKEN and wants_token:
                continue
            if name not in declared:
                yield f"the query parameter {name} is not documented"
            elif not self._fits(declared[name]["schema"], text):
                yield f"the query parameter {name} has a value that is not allowed"

    def _fits(self, schema: dict[str, Any], text: str) -> bool:
        value: Any = text
        if schema.get("type") == "integer":
            try:
                value = int(text)
            except ValueError:
                return False
        return bool(Draft202012Validator(schema).is_valid(value))

    def _body_violations(self, operation: dict[str, Any], request: Request) -> Iterator[str]:
        if "requestBody" not in operation:
            if request.body:
                yield "the operation takes no body"
            return
        headers = {name.lower(): value for name, value in request.headers.items()}
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            yield "the content type is not application/json"
        try:
            body = json.loads(request.body)
        except ValueError:
            yield "the body is no JSON"
            return
        pointer = (
            f"{self._operation_pointer(request.method, request.path)}/requestBody/content/application~1json/schema"
        )
        for error in self.validator(pointer).iter_errors(body):
            yield f"the body: {_explained(error)}"
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        if "additionalProperties" not in self._resolved(schema):
            for name in self.undeclared(schema, body):
                yield f"the body: the member {name} is not documented"


@lru_cache
def load_contract(spec_path: Path) -> Contract:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return Contract(yaml.load(spec_path.read_text(), loader))  # noqa: S506 - both loaders are the safe one


def _explained(error: Any) -> str:
    """Where and why, without the value, which may be a password."""
    if error.validator in {"required", "additionalProperties"}:
        return str(error.message)
    return f"{error.json_path.removeprefix('$.')} breaks {error.validator} {error.validator_value!r}"
