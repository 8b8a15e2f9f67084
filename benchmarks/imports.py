"""What a cold start pays: importing the app beside importing the libraries that any such app needs."""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 11
OURS = "import function_app"
BASE = "import azure.functions, azure.data.tables.aio"
LIMIT = 1.8
HEAVY = ("msgraph", "azure.identity", "jinja2", "starlette", "msal", "jwt", "aiohttp", "cryptography.x509",
         "jsonschema", "azure.keyvault.secrets")  # fmt: skip
PROBE = """
import sys, time, json
started = time.perf_counter()
{statement}
seconds = time.perf_counter() - started
import resource
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({{"seconds": seconds, "modules": len(sys.modules), "peak_kb": peak,
                   "heavy": [name for name in {heavy!r} if name in sys.modules]}}))
"""


class Import(msgspec.Struct, frozen=True):
    """One measured import in a process of its own."""

    seconds: float
    modules: int
    peak_kb: int
    heavy: list[str]


def main() -> None:
    """Print both imports, measured in turn, and their ratio."""
    with tempfile.TemporaryDirectory() as cache:
        for statement in (OURS, BASE):
            _measure(statement, cache)  # compiles, as a deployment ships compiled files
        pairs = [(_measure(OURS, cache), _measure(BASE, cache)) for _ in range(ROUNDS)]
    print(f"Imports, {ROUNDS} rounds in turn, compiled, warm file cache (median)")
    for name, runs in ((OURS, [pair[0] for pair in pairs]), (BASE, [pair[1] for pair in pairs])):
        milliseconds = statistics.median(run.seconds for run in runs) * 1000
        print(f"  {name:<48} {milliseconds:7.1f} ms   {runs[0].modules} modules   {runs[0].peak_kb / 1024:.0f} MB")
    ratio = statistics.median(ours.seconds / base.seconds for ours, base in pairs)
    print(f"  ratio {ratio:.2f} (limit {LIMIT}); heavy libraries imported: {pairs[0][0].heavy or 'none'}")


def _measure(statement: str, cache: str) -> Import:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = cache
    code = PROBE.format(statement=statement, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True, capture_output=True)  # noqa: S603
    return msgspec.json.decode(done.stdout, type=Import)


if __name__ == "__main__":
    main()
