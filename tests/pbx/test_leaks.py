"""What never gets out: tokens, passwords, and the HTTP library's own errors."""

import asyncio
import contextlib
import logging
import random
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.pbx.emulator import PbxEmulator
from local.tls import ServerCertificate
from pbx import client, errors, tokens
from pbx.address import Address
from pbx.client import Pbx
from pbx.errors import BY_ERRCODE, PbxError, from_errcode
from pbx.groups import ExtensionGroups, GroupMember
from tests.pbx.support import CLIENT_ID, CLIENT_SECRET, MemoryText, Office, new

CALLS: list[Callable[[Pbx], Awaitable[Any]]] = [
    lambda pbx: pbx.information(),
    lambda pbx: pbx.extensions(),
    lambda pbx: pbx.find_by_email("ada@example.com"),
    lambda pbx: pbx.details([1, 2]),
    lambda pbx: pbx.create_extension(new("2000")),
    lambda pbx: pbx.update_extension(1, {"title": "x"}),
    lambda pbx: pbx.delete_extension(2),
    lambda pbx: pbx.send_welcome_email(1),
    lambda pbx: ExtensionGroups(pbx).all(),
    lambda pbx: ExtensionGroups(pbx).details([1, 2]),
    lambda pbx: ExtensionGroups(pbx).create("Sales", [1]),
    lambda pbx: ExtensionGroups(pbx).update(2, name="Sellers", members=[GroupMember(1)]),
    lambda pbx: ExtensionGroups(pbx).delete(2),
]
BODIES: list[Any] = [None, [], {}, {"errcode": None}, {"errcode": []}]
FAULTS: list[dict[str, Any]] = [
    {"kind": "drop"},
    {"kind": "commit_then_drop"},
    {"kind": "commit_then_hang", "seconds": 0.3},
    {"kind": "truncate", "bytes": 0},
    {"kind": "truncate", "bytes": 20},
    *({"kind": "status", "status": status, "body": "<html>"} for status in (200, 204, 302, 400, 401, 403, 404, 502)),
    *({"kind": "status", "status": 200, "body": body} for body in BODIES),
    {"kind": "status", "status": 200, "headers": {"Content-Encoding": "gzip"}, "body": "no gzip"},
    {"kind": "status", "status": 200, "headers": {"Content-Type": "text/plain; charset=nonsense"}, "body": {}},
    *({"kind": "errcode", "options": {"errcode": code}} for code in [*BY_ERRCODE, 10004, 55555]),
    {"kind": "errcode_after_commit", "options": {"errcode": -2}},
]


def secrets(office: Office) -> list[str]:
    pairs = office.emulator.machine.tokens.pairs()
    issued = [token for pair in pairs for token in (pair.access, pair.refresh)]
    return [CLIENT_SECRET, new().user_password, new().reg_password, *issued]


def told(error: BaseException) -> str:
    """Everything that a log of this error may hold."""
    return "".join([*traceback.format_exception(error), repr(error), str(error.args), getattr(error, "action", "")])


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: "-".join(str(value) for value in fault.values())[:60])
async def test_whatever_goes_wrong_has_a_word_of_ours_and_tells_no_secret(
    office: Office, fault: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    pbx = office.client(timeout=0.15)
    await pbx.capacity()
    office.fault(times=None, **fault)
    texts = []
    for call in CALLS:
        try:
            await call(pbx)
        except PbxError as error:
            texts.append(told(error))
    assert texts or fault["kind"] == "errcode_after_commit" or fault.get("options", {}).get("errcode") == 60001
    everything = "".join(texts) + caplog.text + "".join(str(vars(record)) for record in caplog.records)
    for secret in secrets(office):
        assert secret not in everything


async def test_a_sign_in_that_fails_tells_no_secret(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts = []
    for index, fault in enumerate(FAULTS):
        office.version = f"v{index}"
        office.emulator.faults.clear()
        office.fault(path="get_token", times=None, **fault)
        try:
            await office.client(timeout=0.1).capacity()
        except PbxError as error:
            texts.append(told(error))
    assert len(texts) > 20
    for secret in secrets(office):
        assert secret not in "".join(texts) + caplog.text


async def test_a_client_shows_nothing(office: Office) -> None:
    pbx = office.client()
    await pbx.capacity()
    shown = f"{pbx!r} {pbx} {pbx._signed_in()!r} {pbx._signed_in()._cached!r}"
    assert not any(secret in shown for secret in secrets(office))


@pytest.fixture
async def babbler(certificate: ServerCertificate) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A TLS server that answers every connection with the bytes that are put in."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    said = [b""]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(4096)
            writer.write(said[0])
            await writer.drain()
        except (OSError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    yield f"localhost:{server.sockets[0].getsockname()[1]}", said
    server.close()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x00" * 50,
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 \xff\xfe\r\nX\xff: \xff\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 99999 Odd\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: \xff=;=;\r\nContent-Length: 2\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_a_server_that_speaks_nonsense_is_told_in_our_words(
    babbler: tuple[str, list[bytes]], office: Office, said: bytes
) -> None:
    fqdn, words = babbler
    words[0] = said
    pbx = office.client(address=Address(fqdn), timeout=0.3)
    with pytest.raises(PbxError):
        await pbx.ask_token("get_token", {"username": "u", "password": "p"})


@given(status=st.integers(100, 599), body=st.binary(max_size=200), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_answer_is_a_value_or_an_error_of_ours(status: int, body: bytes, seed: int) -> None:
    """Without a network: whatever status and bytes come back."""
    piece = random.Random(seed).choice([b"", b'{"errcode": 0}', b'{"errcode": 0, "data": [', b'{"errcode": "x"}'])  # noqa: S311

    async def run() -> None:
        pbx = Office(EMULATOR, MemoryText()).client()

        async def send(_: Any) -> tuple[int, bytes]:
            return status, piece + body

        pbx._send = send  # type: ignore[method-assign,assignment]
        for call in CALLS:
            with contextlib.suppress(PbxError):
                await call(pbx)

    asyncio.run(run())


EMULATOR = PbxEmulator(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)


@given(st.integers(-(2**31), 2**31), st.text(max_size=400))
def test_every_errcode_has_a_class_a_text_and_an_action_or_none(errcode: int, text: str) -> None:
    error = from_errcode(errcode, text)
    assert isinstance(error, PbxError)
    assert f"[errcode {errcode}]" in str(error)
    assert len(str(error)) < 400


def test_every_class_of_the_tree_has_a_code_for_machines() -> None:
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PbxError)]
    assert len(classes) == 19
    for kind in classes:
        assert kind.code.startswith("pbx_")
        assert kind.__name__ in (errors.__doc__ or "")
    assert all(kind.action for kind in classes if issubclass(kind, errors.Stop) and kind is not errors.Stop)


def test_a_claim_outlasts_the_longest_renewal() -> None:
    """A refresh and a sign-in one after the other, each to its time limit."""
    assert tokens.RENEWAL_SECONDS > 2 * client.TIMEOUT_SECONDS
