"""Pins what the host is built on: a new version of the worker library must pass these before it is trusted."""

import importlib.metadata
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import azure_functions_runtime
import pytest
import pytest_asyncio

from local.host import protos
from local.host.apps import InProcessApp
from local.host.wire import Data, Function, HttpRequest, Invocation, Kind
from tests.host.support import APP, Records

NOT_NEEDED = {"FunctionEnvironmentReloadResponse"}  # only Linux Consumption's placeholder mode asks for it


@pytest.mark.parametrize(("package", "version"), [("azure-functions-runtime", "1.3.0"), ("azure-functions", "2.3.0")])
def test_the_installed_version_is_the_one_the_host_was_written_for(package: str, version: str) -> None:
    assert importlib.metadata.version(package) == version


def test_every_message_class_that_the_library_names_is_there() -> None:
    folder = Path(azure_functions_runtime.__file__).parent
    named = {
        name for file in folder.rglob("*.py") for name in re.findall(r"(?<![\w.])protos\.([A-Z]\w+)", file.read_text())
    }
    assert {"TypedData", "RpcHttp", "InvocationResponse"} <= named
    assert [name for name in sorted(named - NOT_NEEDED) if not hasattr(protos, name)] == []


def test_the_library_is_driven_without_protobuf_and_grpc() -> None:
    for package in ("protobuf", "grpcio"):
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(package)


@pytest.fixture
def environment(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


@pytest_asyncio.fixture
async def app(environment: None) -> AsyncIterator[tuple[InProcessApp, dict[str, Function]]]:
    app = InProcessApp(APP)
    functions = await app.start()
    yield app, {one.name: one for one in functions}
    await app.stop()


type Started = tuple[InProcessApp, dict[str, Function]]


def call(function: Function, argument: str, **what: object) -> Invocation:
    return Invocation("11111111-2222-3333-4444-555555555555", function.id, argument, **what)  # type: ignore[arg-type]


def http(method: str = "GET", body: bytes = b"", **params: str) -> HttpRequest:
    return HttpRequest(method, "http://host/x", {"x-a": "1"}, params, {"q": "2"}, body)


async def test_indexing_gives_each_function_its_bindings(app: Started) -> None:
    _, functions = app
    trigger, answer = (json.loads(text) for text in functions["ping"].bindings)
    assert trigger == {
        "direction": "IN",
        "type": "httpTrigger",
        "name": "req",
        "authLevel": "ANONYMOUS",
        "route": "ping",
        "methods": ["GET", "POST"],
    }
    assert (answer["type"], answer["name"], answer["direction"]) == ("http", "$return", "OUT")
    assert json.loads(functions["at_start"].bindings[0])["runOnStartup"] is True


async def test_an_async_http_function_sees_the_request_and_answers(app: Started) -> None:
    worker, functions = app
    outcome = await worker.invoke(
        call(functions["echo"], "req", http=http("PUT", b"body", id="7"), trace_parent="00-1")
    )
    assert outcome.ok
    assert outcome.http is not None
    assert (outcome.http.status, outcome.http.headers["content-type"]) == (200, "application/json")
    seen = json.loads(outcome.http.body)
    assert (seen["method"], seen["body"], seen["route"], seen["query"]) == ("PUT", "body", {"id": "7"}, {"q": "2"})
    assert seen["headers"] == {"x-a": "1"}
    assert seen["logged_as"] == seen["invocation"] == "11111111-2222-3333-4444-555555555555"
    assert seen["trace_parent"] == "00-1"


async def test_a_sync_http_function_runs_in_a_thread(app: Started) -> None:
    worker, functions = app
    outcome = await worker.invoke(call(functions["in_thread"], "req", http=http()))
    assert outcome.http is not None
    assert outcome.http.body == b"pong from a thread"


async def test_an_exception_comes_back_with_its_traceback(app: Started) -> None:
    worker, functions = app
    outcome = await worker.invoke(call(functions["fails"], "req", http=http()))
    assert not outcome.ok
    assert outcome.error == "RuntimeError: on purpose"
    assert "in fails" in outcome.stack


async def test_a_timer_function_gets_its_payload(app: Started, records: Records) -> None:
    worker, functions = app
    text = '{"Schedule": {"AdjustForDST": true}, "ScheduleStatus": null, "IsPastDue": true}'
    outcome = await worker.invoke(call(functions["tick"], "timer", data=Data(Kind.JSON, text)))
    assert outcome.ok
    assert records("tick") == [{"past_due": True, "schedule": {"AdjustForDST": True}}]


async def test_a_queue_function_gets_message_and_metadata_and_sets_an_output(app: Started, records: Records) -> None:
    worker, functions = app
    metadata = {
        "Id": Data(Kind.STRING, "m1"),
        "DequeueCount": Data(Kind.JSON, "2"),
        "InsertionTime": Data(Kind.JSON, '"2026-05-01T10:00:00Z"'),
    }
    outcome = await worker.invoke(
        call(functions["work"], "message", data=Data(Kind.STRING, "hello"), metadata=metadata)
    )
    assert outcome.ok, outcome.stack
    assert records("work") == [{"body": "hello", "id": "m1", "count": 2, "inserted": "2026-05-01 10:00:00+00:00"}]
    assert outcome.outputs == [("done", Data(Kind.STRING, "done hello"))]


async def test_a_list_of_output_messages_travels_as_json(app: Started) -> None:
    worker, functions = app
    outcome = await worker.invoke(call(functions["enqueue"], "req", http=http("POST", b'["a", "b"]')))
    assert outcome.outputs == [("many", Data(Kind.JSON, '["a", "b"]'))]
