"""The room is cheap to import: what is heavy is imported by whoever needs it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("msal", "jwt", "cryptography", "requests", "aiohttp", "azure.identity", "azure.keyvault.secrets", "jsonschema")


def test_importing_the_room_imports_nothing_heavy() -> None:
    rooms = ", ".join(f"sso.{file.stem}" for file in sorted((ROOT / "sso").glob("[a-z]*.py")))
    code = f"import sys, {rooms}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603
    assert done.stdout.strip() == "[]"
