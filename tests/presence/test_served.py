"""A process that takes notifications answers Graph without the libraries that take long to load."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec

from presence.messages import Answer
from tests.engine.world import PBX_SECRET
from tests.presence.desk import KEY_PEM, Desk

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "msgraph",
    "kiota_abstractions",
    "azure.identity",
    "azure.keyvault",
    "jinja2",
    "starlette",
    "msal",
    "jsonschema",
)
SERVER = """
import asyncio, datetime, sys
import function_app  # noqa: F401 - everything that a deployed process loads when it starts
import msgspec
from presence.intake import receive
from presence.room import close, memory_of, room_of
from store.environment import Environment
from store.secrets import Secret
from sync.service import Bridge


class Job(msgspec.Struct):
    environment: Environment
    connection: str
    now: datetime.datetime
    secrets: dict[str, str]
    posts: list[msgspec.Raw]
    heavy: list[str]


class Vault:
    def __init__(self, secrets):
        self._secrets = secrets

    async def read(self, name, version=""):
        return Secret(self._secrets[name], version)

    async def close(self):
        pass


async def nobody(*_):
    raise AssertionError("who signed in is nothing for who takes notifications")


async def serve(job):
    bridge = Bridge(job.environment, now=lambda: job.now)
    connection = bridge.connection(job.connection)
    connection.secrets = Vault(job.secrets)
    room = room_of(connection, bridge.now, nobody, nobody)
    answers = []
    for post in job.posts:
        answers.append(await receive(room, {}, bytes(post)))
        await memory_of(room).trust.close()
    await close(room)
    await bridge.close()
    return answers


job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
answers = asyncio.run(serve(job))
loaded = [name for name in job.heavy if name in sys.modules]
sys.stdout.buffer.write(msgspec.json.encode({"answers": answers, "loaded": loaded}))
"""
"""The Key Vault is left out: its client is loaded behind an answer, and once."""


class Served(msgspec.Struct):
    """What such a process says in the end."""

    answers: list[Answer]
    loaded: list[str]


async def serve(desk: Desk, *posts: dict[str, Any]) -> Served:
    """Have a fresh process take these POSTs, one after the other."""
    job = {
        "environment": desk.world.environment,
        "connection": desk.world.id,
        "now": desk.world.tell(),
        "secrets": {"presence-certificate": KEY_PEM, "pbx-client-secret": PBX_SECRET},
        "posts": posts,
        "heavy": HEAVY,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate(msgspec.json.encode(job))
    return msgspec.json.decode(output, type=Served)


async def test_a_process_that_served_sealed_notifications_has_loaded_nothing_heavy(desk: Desk) -> None:
    ids = await desk.staff(2)
    record = await desk.subscribe(ids)
    posts = [{"value": [desk.rich(record, one, "Busy")], "validationTokens": [desk.token()]} for one in (ids[0], *ids)]
    served = await serve(desk, *posts)
    assert [answer.status for answer in served.answers] == [202] * 3
    # The first one comes before the key is at hand: Graph is asked about it, by whoever takes the message.
    assert [[update.look for update in answer.updates if update.look] for answer in served.answers] == [
        [(ids[0],)],
        [],
        [],
    ]
    assert desk.shown() == {"1000": "away", "1001": "away"}
    assert served.loaded == []


async def test_a_process_that_served_plain_notifications_has_loaded_nothing_heavy(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    record = await desk.subscribe([noor], certificate_id="")
    served = await serve(desk, {"value": [desk.basic(record, noor)]})
    assert [(answer.status, [update.look for update in answer.updates]) for answer in served.answers] == [
        (202, [(noor,)])
    ]
    assert served.loaded == []
