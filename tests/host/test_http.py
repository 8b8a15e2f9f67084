"""HTTP triggers through ``Host.dispatch``; storage is down all the while, which must not matter."""

import asyncio
import logging
from collections.abc import AsyncIterator

import aiohttp
import pytest

from local.host.server import Server
from tests.host.support import MASTER, HostFactory, Records, document, send, until


async def test_the_function_sees_path_query_headers_and_body(make_host: HostFactory) -> None:
    host = await make_host()
    answer = await send(
        host, "/Echo/12/Rest?a=1&b=&a=2&c=%20x", "POST", {"x-thing": "y", "traceparent": "00-ab"}, b"text"
    )
    seen = document(answer)
    assert answer.status == 200
    assert seen["route"] == {"id": "12", "rest": "Rest"}
    assert seen["query"] == {"a": "1,2", "c": " x"}, "an empty value is dropped, a repeated one joined"
    assert (seen["headers"]["x-thing"], seen["body"], seen["trace_parent"]) == ("y", "text", "00-ab")
    assert seen["url"] == "http://host/Echo/12/Rest?a=1&b=&a=2&c=%20x"


async def test_every_invocation_has_its_own_id_in_async_code_too(make_host: HostFactory) -> None:
    host = await make_host()
    seen = [document(one) for one in await asyncio.gather(*(send(host, "/echo/1") for _ in range(5)))]
    assert len({one["invocation"] for one in seen}) == 5
    assert all(one["invocation"] == one["logged_as"] for one in seen)


@pytest.mark.parametrize(("path", "method"), [("/ping", "PUT"), ("/nothing", "GET"), ("/echo/x", "GET"), ("/", "GET")])
async def test_no_route_or_wrong_method_is_404(make_host: HostFactory, path: str, method: str) -> None:
    assert (await send(await make_host(), path, method)).status == 404


async def test_a_failure_is_an_empty_500_and_logged_with_its_traceback(
    make_host: HostFactory, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await send(await make_host(), "/fails")
    assert (answer.status, answer.body) == (500, b"")
    assert "RuntimeError: on purpose" in caplog.text
    assert "in fails" in caplog.text


async def test_an_exit_of_a_function_is_only_its_failure(make_host: HostFactory) -> None:
    host = await make_host()
    assert (await send(host, "/exits")).status == 500
    assert (await send(host, "/ping")).body == b"pong"


async def test_a_function_that_takes_too_long_is_cancelled(make_host: HostFactory, settings: dict[str, str]) -> None:
    settings["AzureFunctionsJobHost__functionTimeout"] = "00:00:00.1"
    answer = await send(await make_host(), "/waits?seconds=5")
    assert answer.status == 500
    assert b"time limit" in answer.body


async def test_more_requests_than_allowed_are_429(make_host: HostFactory, settings: dict[str, str]) -> None:
    settings["AzureFunctionsJobHost__extensions__http__maxOutstandingRequests"] = "2"
    host = await make_host()
    answers = await asyncio.gather(*(send(host, "/waits?seconds=0.05") for _ in range(4)))
    assert sorted(one.status for one in answers) == [200, 200, 429, 429]
    assert (await send(host, "/ping")).status == 200


async def test_cookies_are_repeated_headers_with_encoded_values(make_host: HostFactory) -> None:
    answer = await send(await make_host(), "/cookies")
    assert answer.cookies == (
        "session=a%2Bb%2Fc; max-age=60; path=/; secure; samesite=lax; httponly",
        "theme=dark; expires=Wed, 21 Oct 2026 07:28:00 GMT",
    )


async def test_an_output_that_cannot_be_sent_fails_the_request(
    make_host: HostFactory, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await send(await make_host(), "/enqueue", "POST", body=b'"x"')
    assert answer.status == 500
    assert "cannot be sent" in caplog.text


async def test_a_storage_outage_is_logged_once_and_http_works(
    make_host: HostFactory, caplog: pytest.LogCaptureFixture, settings: dict[str, str]
) -> None:
    settings["AzureFunctionsJobHost__extensions__queues__maxPollingInterval"] = "00:00:00.1"
    caplog.set_level(logging.INFO)
    host = await make_host()
    await until(lambda: "cannot be used" in caplog.text)
    assert (await send(host, "/ping")).body == b"pong"
    await asyncio.sleep(0.5)  # several more attempts
    assert caplog.text.count("cannot be used") == 1
    assert "AccountKey" not in caplog.text


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/guarded", {}, 401),
        ("/guarded", {"x-functions-key": "the-function"}, 200),
        ("/guarded", {"x-functions-key": "only-guarded"}, 200),
        ("/guarded", {"x-functions-key": "the-master"}, 200),
        ("/guarded", {"x-functions-key": "the-functio"}, 401),
        ("/guarded", {"x-functions-key": "schlüssel"}, 401),
        ("/guarded?code=the-function", {}, 200),
        ("/guarded?code=wrong", {}, 401),
        ("/guarded?code=the-function", {"x-functions-key": "wrong"}, 401),
        ("/ruled", {"x-functions-key": "the-function"}, 401),
        ("/ruled", {"x-functions-key": "only-guarded"}, 401),
        ("/ruled", {"x-functions-key": "the-master"}, 200),
        ("/ping", {"x-functions-key": "wrong"}, 200),
    ],
)
async def test_keys_open_what_they_are_for(
    make_host: HostFactory, path: str, headers: dict[str, str], status: int
) -> None:
    assert (await send(await make_host(), path, headers=headers)).status == status


@pytest.mark.parametrize(
    "path", ["/admin/functions", "/admin/functions/ping", "/admin/host/status", "/admin/host/clock"]
)
async def test_admin_endpoints_want_the_master_key(make_host: HostFactory, path: str) -> None:
    host = await make_host()
    assert (await send(host, path)).status == 401
    assert (await send(host, path, headers={"x-functions-key": "the-function"})).status == 401
    assert (await send(host, path, headers=MASTER)).status == 200


async def test_a_host_that_is_not_ready_says_so(make_host: HostFactory) -> None:
    host = await make_host()
    await host.stop()
    assert (await send(host, "/ping")).status == 503


async def test_ping_is_open_and_functions_are_described(make_host: HostFactory) -> None:
    host = await make_host()
    assert (await send(host, "/admin/host/ping")).status == 200
    listed = {one["name"]: one for one in document(await send(host, "/admin/functions", headers=MASTER))}
    assert listed["echo"]["route"] == "/echo/{id:int}/{rest?}"
    assert listed["tick"] == document(await send(host, "/admin/functions/TICK", headers=MASTER))
    assert (await send(host, "/admin/functions/nobody", headers=MASTER)).status == 404
    assert document(await send(host, "/admin/host/status", headers=MASTER))["state"] == "Running"


async def test_functions_can_be_fired_by_hand(make_host: HostFactory, records: Records) -> None:
    host = await make_host()
    fired = await send(host, "/admin/functions/work", "POST", MASTER, b'{"input": "fail by hand"}')
    assert fired.status == 202
    assert (await send(host, "/admin/functions/tick", "POST", MASTER)).status == 202
    await until(lambda: records("work") and records("tick"))
    assert records("work")[0]["body"] == "fail by hand"
    assert records("tick")[0]["past_due"] is False
    assert (await send(host, "/admin/functions/tick", "POST", MASTER, b"{")).status == 400


async def test_a_disabled_function_is_not_routed(make_host: HostFactory, settings: dict[str, str]) -> None:
    settings["AzureWebJobs.ping.Disabled"] = "true"
    assert (await send(await make_host(), "/ping")).status == 404


async def test_the_route_prefix_goes_in_front(make_host: HostFactory, settings: dict[str, str]) -> None:
    settings["AzureFunctionsJobHost__extensions__http__routePrefix"] = "api/v1"
    host = await make_host()
    assert (await send(host, "/api/v1/ping")).status == 200
    assert (await send(host, "/ping")).status == 404


async def test_a_body_over_the_limit_is_413_however_it_is_sent(make_host: HostFactory) -> None:
    server = Server(await make_host(), limit=1000)
    await server.start("127.0.0.1", 0)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    async with aiohttp.ClientSession(server.url) as client:
        for data, status in ((b"x" * 1000, 200), (b"x" * 1001, 413), (chunks(), 413)):
            async with client.post("/size", data=data) as answer:
                assert answer.status == status
    await server.stop()
