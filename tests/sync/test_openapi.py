"""The description of the API: valid, and about the routes that are there."""

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import function_app
from sync.openapi import document

VERBS = {"get", "put", "post", "patch", "delete"}


@pytest.fixture(scope="module")
def described() -> set[tuple[str, str]]:
    return {(verb, path) for path, operations in document()["paths"].items() for verb in operations if verb in VERBS}


@pytest.fixture(scope="module")
def routes() -> set[tuple[str, str]]:
    """Verb and path of every HTTP trigger."""
    function_app.app.functions_bindings = {}  # it tells its functions only once otherwise
    triggers = [function.get_trigger() for function in function_app.app.get_functions()]
    details = [trigger.get_dict_repr() for trigger in triggers if trigger and trigger.type == "httpTrigger"]
    return {
        (str(getattr(verb, "value", verb)).lower(), f"/{one['route']}") for one in details for verb in one["methods"]
    }


def test_the_document_is_valid_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(document()).validate()


def test_every_route_of_the_api_is_described_and_every_description_has_a_route(
    described: set[tuple[str, str]], routes: set[tuple[str, str]]
) -> None:
    assert described == {(verb, path) for verb, path in routes if path.startswith("/api/")}


def test_routes_outside_the_api_are_not_described(
    described: set[tuple[str, str]], routes: set[tuple[str, str]]
) -> None:
    assert ("get", "/healthz") in routes - described


def test_every_parameter_of_a_path_is_described() -> None:
    for path, operations in document()["paths"].items():
        named = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        for operation in operations.values():
            found = {item["name"] for item in operation.get("parameters", []) if item["in"] == "path"}
            assert found == named, path


def test_operations_have_names_of_their_own_and_a_shape_for_their_errors() -> None:
    operations = [operation for item in document()["paths"].values() for operation in item.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    for operation in operations:
        assert "application/problem+json" in operation["responses"]["default"]["content"]


def test_no_schema_offers_a_place_for_a_secret_to_be_read() -> None:
    schemas = document()["components"]["schemas"]
    for name in ("Settings", "Status", "Run", "LinkView"):
        assert "secret" not in " ".join(schemas[name].get("properties", {})).replace("secret_expir", "")
