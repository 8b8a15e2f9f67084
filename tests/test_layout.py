"""The house rules that tools do not check: what the triggers may import, and what is deployed."""

import ast
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


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
    heavy = ("msgraph", "azure.identity", "jinja2", "aiohttp", "jsonschema", "azure.keyvault.secrets")
    code = f"import sys, function_app; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603
    assert done.stdout.strip() == "[]"


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
