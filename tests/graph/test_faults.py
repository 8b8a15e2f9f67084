"""What Graph does on bad days, and what the gateway makes of it: bounded attempts, typed errors."""

import datetime
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graph.client import ATTEMPTS, MAX_PAUSE_SECONDS, Graph
from graph.credentials import Application, ApplicationCredential
from graph.errors import (
    BadRequest,
    ConsentMissing,
    CredentialsRejected,
    GraphError,
    NotFound,
    ResyncRequired,
    Throttled,
    Unavailable,
)
from graph.models import BASE_SELECT
from local.emulator import Fault
from local.microsoft import MicrosoftEmulator
from local.sample import CLIENT_ID, CLIENT_SECRET, TENANT_ID
from tests.graph.tenant import PEOPLE, fault, read, refusal, seen

HTML = "<html><body><h1>Bad gateway</h1></body></html>"


# Throttling


async def test_the_pause_that_graph_asks_for_is_kept(
    reader: Graph, emulator: MicrosoftEmulator, pauses: list[float]
) -> None:
    emulator.faults.append(refusal(429, "TooManyRequests", headers={"Retry-After": "7"}, times=2))
    users, _ = await read(reader)
    assert len(users) == PEOPLE
    assert pauses == [7.0, 7.0]
    assert reader.requests == 5


async def test_a_pause_given_as_a_date_is_kept_too(
    reader: Graph, emulator: MicrosoftEmulator, pauses: list[float]
) -> None:
    when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    emulator.faults.append(refusal(429, "TooManyRequests", headers={"Retry-After": format_datetime(when, usegmt=True)}))
    await read(reader)
    assert 25 < pauses[0] <= 30


async def test_without_a_wish_the_pauses_grow_and_stay_small(
    reader: Graph, emulator: MicrosoftEmulator, pauses: list[float]
) -> None:
    emulator.faults.append(refusal(429, "TooManyRequests", times=ATTEMPTS - 1))
    await read(reader)
    assert len(pauses) == ATTEMPTS - 1
    assert all(0 <= pause <= min(20, 2**index) for index, pause in enumerate(pauses))


async def test_a_pause_that_is_too_long_surfaces_at_once(
    reader: Graph, emulator: MicrosoftEmulator, pauses: list[float]
) -> None:
    emulator.faults.append(refusal(429, "TooManyRequests", headers={"Retry-After": str(int(MAX_PAUSE_SECONDS) + 1)}))
    with pytest.raises(Throttled) as caught:
        await read(reader)
    assert caught.value.retry_after == MAX_PAUSE_SECONDS + 1
    assert pauses == []
    assert reader.requests == 1


async def test_throttling_without_end_is_given_up_after_bounded_attempts(
    reader: Graph, emulator: MicrosoftEmulator, pauses: list[float]
) -> None:
    emulator.faults.append(refusal(429, "TooManyRequests", headers={"Retry-After": "1"}, times=None))
    with pytest.raises(Throttled):
        await read(reader)
    assert reader.requests == ATTEMPTS
    assert pauses == [1.0] * (ATTEMPTS - 1)


@pytest.mark.parametrize("wish", ["soon", "-5", "nan", "inf"])
async def test_a_wish_that_makes_no_sense_never_breaks_the_reading(
    reader: Graph, emulator: MicrosoftEmulator, pauses: list[float], wish: str
) -> None:
    emulator.faults.append(refusal(429, "TooManyRequests", headers={"Retry-After": wish}))
    users, _ = await read(reader)
    assert len(users) == PEOPLE
    assert 0 <= pauses[0] <= MAX_PAUSE_SECONDS


# Failures that pass by themselves


BROKEN: dict[str, dict[str, Any]] = {
    "500": {"status": 500, "body": {"error": {"code": "generalException", "message": "Oops."}}},
    "502 with a page of a gateway": {"status": 502, "body": HTML},
    "503 with half a JSON": {"status": 503, "body": '{"error": {"co', "headers": {"Content-Type": "application/json"}},
    "503 with nothing": {"status": 503},
    "504 with a list": {"status": 504, "body": [1, 2]},
    "408": {"status": 408, "body": {"error": {"code": "timeout", "message": "Slow."}}},
    "a success with a page of a gateway": {"status": 200, "body": HTML},
    "a success with half a JSON": {"status": 200, "body": '{"value": [{"id"'},
    "a success with nothing": {"status": 200},
    "no content": {"status": 204},
    "a dropped connection": {"kind": "drop"},
    "a dropped answer": {"kind": "commit_then_drop"},
    "a truncated body": {"kind": "truncate", "bytes": 40},
    "a body cut off at its start": {"kind": "truncate", "bytes": 0},
}


@pytest.mark.parametrize("planted", BROKEN.values(), ids=BROKEN)
async def test_a_failure_that_passes_is_not_noticed(
    reader: Graph, emulator: MicrosoftEmulator, planted: dict[str, Any]
) -> None:
    emulator.faults.append(fault(**planted, skip=1, times=2))
    users, _ = await read(reader)
    assert len(users) == PEOPLE
    assert reader.requests == 5


@pytest.mark.parametrize("planted", BROKEN.values(), ids=BROKEN)
async def test_a_failure_that_stays_is_unavailable_after_bounded_attempts(
    reader: Graph, emulator: MicrosoftEmulator, planted: dict[str, Any], pauses: list[float]
) -> None:
    emulator.faults.append(fault(**planted, times=None))
    with pytest.raises(Unavailable):
        await read(reader)
    assert len(seen(emulator)) == reader.requests == ATTEMPTS
    assert len(pauses) == ATTEMPTS - 1


async def test_a_pause_asked_for_by_a_failing_service_is_kept(
    reader: Graph, emulator: MicrosoftEmulator, pauses: list[float]
) -> None:
    emulator.faults.append(refusal(503, "serviceNotAvailable", headers={"Retry-After": "11"}))
    await read(reader)
    assert pauses == [11.0]


async def test_a_graph_that_is_not_there_is_unavailable(emulator: MicrosoftEmulator, pauses: list[float]) -> None:
    application = Application(
        tenant_id=TENANT_ID, client_id=CLIENT_ID, authority=emulator.url, kind="secret", proof=CLIENT_SECRET
    )
    async with Graph("https://localhost:9/v1.0", ApplicationCredential(application)) as away:
        with pytest.raises(Unavailable, match="ConnectError"):
            await read(away)
        assert away.requests == ATTEMPTS


# Refusals


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "InvalidAuthenticationToken", CredentialsRejected),
        (403, "Authorization_RequestDenied", ConsentMissing),
        (404, "Request_ResourceNotFound", NotFound),
        (410, "Gone", ResyncRequired),
        (400, "Request_UnsupportedQuery", BadRequest),
        (405, "Request_BadRequest", BadRequest),
        (412, "PreconditionFailed", BadRequest),
    ],
)
async def test_a_refusal_is_named_by_what_has_to_be_done_and_never_repeated(
    reader: Graph, emulator: MicrosoftEmulator, status: int, code: str, kind: type[GraphError]
) -> None:
    emulator.faults.append(refusal(status, code))
    with pytest.raises(kind) as caught:
        await read(reader)
    assert type(caught.value) is kind
    assert f"{code} {status}" in str(caught.value)
    assert reader.requests == 1


async def test_a_token_that_graph_does_not_take_says_what_to_compare(
    reader: Graph, emulator: MicrosoftEmulator
) -> None:
    emulator.faults.append(refusal(401, "InvalidAuthenticationToken"))
    with pytest.raises(CredentialsRejected) as caught:
        await read(reader)
    assert "tenant id" in caught.value.action


async def test_a_missing_permission_names_the_permissions(reader: Graph, emulator: MicrosoftEmulator) -> None:
    next(iter(emulator.authority.apps.values())).roles = []
    with pytest.raises(ConsentMissing) as caught:
        await read(reader)
    assert "User.Read.All" in caught.value.action


async def test_a_challenge_for_more_claims_is_answered_with_a_new_token(
    reader: Graph, emulator: MicrosoftEmulator
) -> None:
    challenge = 'Bearer realm="", error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="'
    emulator.faults.append(refusal(401, "InvalidAuthenticationToken", headers={"WWW-Authenticate": challenge}))
    users, _ = await read(reader)
    assert len(users) == PEOPLE
    assert len(seen(emulator, "/oauth2/v2.0/token")) == 2


async def test_an_error_page_instead_of_an_error_is_still_typed(reader: Graph, emulator: MicrosoftEmulator) -> None:
    for status, kind in ((403, ConsentMissing), (404, Unavailable), (400, BadRequest), (429, Throttled)):
        emulator.faults.append(fault(status=status, body=HTML, times=ATTEMPTS if status in {404, 429} else 1))
        with pytest.raises(kind):
            await read(reader)


# Nothing but our own errors, whatever comes


bodies = st.one_of(
    st.just(""),
    st.just(HTML),
    st.text(max_size=30),
    st.recursive(
        st.one_of(st.none(), st.integers(-5, 5), st.text(max_size=5), st.just("error")),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["error", "code", "message", "value", "id", "innerError"]), inner),
        ),
        max_leaves=8,
    ),
)
plantings = st.one_of(
    st.builds(
        lambda status, body, headers: fault(status=status, body=body, headers=headers),
        st.sampled_from([200, 201, 204, 301, 302, 304, 400, 401, 403, 404, 409, 410, 418, 429, 500, 502, 503, 599]),
        bodies,
        st.dictionaries(
            st.sampled_from(["Content-Type", "Retry-After", "Location", "WWW-Authenticate"]),
            st.sampled_from(["application/json", "text/html", "5", "soon", "https://x.example/", 'Bearer claims="!"']),
        ),
    ),
    st.builds(lambda size: fault("truncate", bytes=size), st.integers(0, 200)),
    st.sampled_from(["drop", "commit_then_drop"]).map(fault),
)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(plantings, min_size=1, max_size=6))
async def test_no_error_of_a_library_ever_leaves_the_gateway(
    emulator: MicrosoftEmulator, reader: Graph, planted: list[Fault]
) -> None:
    emulator.faults[:] = planted
    readings = (read(reader), reader.user("x", BASE_SELECT), reader.app_registration(CLIENT_ID), _members(reader))
    for reading in readings:
        try:
            await reading
        except GraphError as error:
            assert str(error)  # noqa: PT017 - any of them will do


async def _members(reader: Graph) -> None:
    _ = [member async for member in reader.transitive_user_ids("x")]
