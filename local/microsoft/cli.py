"""``python -m local microsoft``: the emulator as a process of its own."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from local.microsoft.emulator import MicrosoftEmulator
from local.sample import Tenant, generate_tenant, sample_tenant
from local.tls import ServerCertificate


def main(argv: list[str]) -> int:
    """Serve until SIGTERM or SIGINT. 0 then; 1 with a sentence on stderr when the emulator cannot start."""
    options = _parser().parse_args(argv)
    try:
        return asyncio.run(_serve(options))
    except (OSError, ValueError) as error:
        print(f"The Microsoft emulator cannot start: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local microsoft", description="An emulated Microsoft Entra ID, Graph and Key Vault."
    )
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--certificate", type=Path, required=True, help="PEM file with the chain")
    parser.add_argument("--key", type=Path, required=True, help="PEM file")
    parser.add_argument("--trust", type=Path, help="PEM file with the authorities of the endpoints to notify")
    parser.add_argument("--users", type=int, help="generate a tenant of so many users instead of the sample")
    parser.add_argument("--groups", type=int, help="and so many groups")
    parser.add_argument("--seed", type=int, default=1, help="another seed makes another tenant")
    parser.add_argument("--page-size", type=int, help="objects on a page of a delta query")
    return parser


async def _serve(options: argparse.Namespace) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    emulator = MicrosoftEmulator(_tenant(options), page_size=options.page_size, trusted=options.trust)
    async with await emulator.start(ServerCertificate(options.certificate, options.key), options.host, options.port):
        print(f"Listening on {emulator.url}", flush=True)
        await stopped.wait()
    return 0


def _tenant(options: argparse.Namespace) -> Tenant:
    if options.users is None and options.groups is None:
        return sample_tenant()
    users, groups = options.users or 0, options.groups or 0
    if users < 0 or groups < 0 or (options.page_size is not None and options.page_size < 1):
        raise ValueError("--users and --groups cannot be negative, --page-size has to be at least 1")
    return generate_tenant(users, groups, options.seed)
