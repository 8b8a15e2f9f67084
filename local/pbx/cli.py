"""``python -m local pbx``: the emulator as a process of its own."""

import argparse
import asyncio
import importlib
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from local.pbx.emulator import PbxEmulator
from local.tls import ServerCertificate

SAMPLE_MODULE = "local.sample"


def main(argv: list[str]) -> int:
    """Serve until SIGTERM or SIGINT. 0 then; 1 with a sentence on stderr when the emulator cannot start."""
    options = _parser().parse_args(argv)
    try:
        return asyncio.run(_serve(options))
    except (OSError, ValueError) as error:
        print(f"The PBX emulator cannot start: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local pbx", description="An emulated Yeastar P-Series PBX.")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--certificate", type=Path, required=True, help="PEM file with the chain")
    parser.add_argument("--key", type=Path, required=True, help="PEM file")
    parser.add_argument("--client-id", default="local-bridge")
    parser.add_argument("--client-secret", default="local-bridge-secret")
    parser.add_argument("--capacity", type=int, default=500, help="licensed extensions")
    parser.add_argument("--sample", action="store_true", help="start with the sample extensions")
    parser.add_argument("--trust", type=Path, help="PEM file of the authority of those who receive webhooks")
    parser.add_argument("--journal", type=Path, help="append every request to this file")
    return parser


async def _serve(options: argparse.Namespace) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    emulator = PbxEmulator(
        _sample() if options.sample else (),
        client_id=options.client_id,
        client_secret=options.client_secret,
        capacity=options.capacity,
        journal=options.journal,
        trust=options.trust,
    )
    async with await emulator.start(ServerCertificate(options.certificate, options.key), options.host, options.port):
        print(f"Listening on {emulator.url}", flush=True)
        await stopped.wait()
    return 0


def _sample() -> Iterable[Mapping[str, object]]:
    extensions: Iterable[Mapping[str, object]] = importlib.import_module(SAMPLE_MODULE).sample_extensions()
    return extensions
