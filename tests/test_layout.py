"""The house rules that tools do not check: what the triggers may import, and what is deployed."""

import ast
import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from local.azurite import Azurite

ROOT = Path(__file__).resolve().parents[1]

WEB = ("starlette", "jinja2", "python_multipart", "anyio", "msal", "jwt", "console", "sso")
"""What only the pages need."""

RECEIVE = """
import asyncio, sys, function_app
import msgspec
from store.subscriptions import Subscription, SubscriptionStore
from sync import notifications

async def main():
    bridge = function_app._bridge()
    connection = bridge.connection("layout")
    base = await connection.settings.load()
    users = msgspec.structs.replace(base.settings.users, enabled=True)
    await connection.settings.save(msgspec.structs.replace(base.settings, users=users), base)
    record = Subscription(resource="users", state="live", id="one", client_state="s" * 43)
    await SubscriptionStore(connection.tables, connection.id).save(record)
    items = [{"subscriptionId": "one", "clientState": "s" * 43, "resource": f"Users/{n}"} for n in range(10)]
    body = msgspec.json.encode({"value": items})
    outcome = await notifications.receive_directory(connection, {}, body, bridge.now())
    await bridge.close()
    print(outcome.status, len(outcome.messages), [name for name in HEAVY if name in sys.modules])

asyncio.run(main())
"""


def test_the_triggers_import_rooms_and_nothing_beneath_them() -> None:
    tree = ast.parse((ROOT / "function_app.py").read_text())
    modules = {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    names = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert modules | names <= {
        "azure.functions",
        "msgspec",
        "collections",
        "typing",
        "sync",
        "console",
        "sso",
        "presence",
    }


def test_importing_the_app_imports_nothing_heavy() -> None:
    heavy = (*WEB, "msgraph", "azure.identity", "aiohttp", "jsonschema", "azure.keyvault.secrets")
    code = f"import sys, function_app; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603
    assert done.stdout.strip() == "[]"


async def test_receiving_notifications_and_asking_for_a_run_imports_nothing_heavy(azurite: Azurite) -> None:
    heavy = (*WEB, "msgraph", "azure.identity", "jsonschema", "azure.keyvault.secrets", "cryptography.x509")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RECEIVE.replace("HEAVY", repr(heavy)), cwd=ROOT,
        env={**os.environ, "AzureWebJobsStorage": azurite.connection_string},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    assert output.decode().strip() == "202 1 []", errors.decode()


def test_what_is_not_deployed_is_named() -> None:
    ignored = set((ROOT / ".funcignore").read_text().split())
    assert {"local/", "tests/", "benchmarks/", "docs/", "infra/"} <= ignored


def test_the_host_serves_routes_without_a_prefix_and_is_pinned() -> None:
    host = json.loads((ROOT / "host.json").read_text())
    assert host["extensions"]["http"]["routePrefix"] == ""
    pins = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = [line for line in pins if line and not line.startswith("#")]
    assert all("==" in line for line in wanted)
    assert {"azure-functions==2.3.0", "azure-functions-runtime==1.3.0"} <= set(wanted)


def test_every_pinned_package_is_what_is_installed() -> None:
    from importlib.metadata import version

    for file in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / file).read_text().splitlines():
            name, _, pinned = line.partition("==")
            if pinned:
                assert (name, version(name)) == (name, pinned)
