"""``python -m local host``: run the host alone, with the environment as given."""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from local.errors import LocalCloudError
from local.host import config as host_config
from local.host.admin import describe_trigger
from local.host.clock import Clock
from local.host.core import Host, create
from local.host.lifeline import die_with_parent
from local.host.poller import DEFAULT_LEASE
from local.host.server import PortInUseError, Server

log = logging.getLogger("local.host")

_SERVER_PATIENCE = 0.2  # seconds for answers that are ready to leave when the host stops


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    app_dir: Path
    host: str
    port: int
    env_file: Path | None
    quiet: bool
    verbose: bool
    message_lease: float
    ahead: float
    tied_to: int | None


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM. Returns 0, 1 when the app or a setting cannot be used, 2 for a busy port."""
    options = _parse(argv)
    if options.tied_to is not None:
        die_with_parent(options.tied_to)
    _log_to_stderr(options)
    try:
        asyncio.run(serve(options))
    except PortInUseError as error:
        print(f"The host cannot start: {error}", file=sys.stderr)
        return 2
    except LocalCloudError as error:
        print(f"The host cannot start. {_headline(error)}\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


async def serve(options: Options) -> None:
    """Start, print where it listens, and stop at a signal. Raises LocalCloudError when it cannot start."""
    stop = _stop_at_signals()
    config = host_config.load(options.app_dir, _settings(options.env_file))
    clock = Clock()
    clock.advance(timedelta(seconds=options.ahead))
    host = create(config, clock=clock, message_lease=options.message_lease, quiet=options.quiet)
    server = Server(host)
    # The port first: nothing of the app should run, no timer fire, when it is taken.
    await server.start(options.host, options.port)
    try:
        await _start_unless_stopped(host, stop)
        if not stop.is_set():
            if not options.quiet:
                print("\n".join(_banner(host, server.url)))
            gc.freeze()  # modules live for ever: do not look through them at every collection
            print(f"Listening on {server.url}", flush=True)
        await stop.wait()
    finally:
        await server.stop_accepting()
        await host.stop()
        await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.stop(), _SERVER_PATIENCE)


async def _start_unless_stopped(host: Host, stop: asyncio.Event) -> None:
    """An app may take long to import: a signal meanwhile ends the start, too."""
    starting = asyncio.create_task(host.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return
    starting.result()


def _parse(argv: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m local host", description="Run a Functions app on this machine.")
    parser.add_argument("--app-dir", type=Path, default=Path.cwd(), help="folder of function_app.py and host.json")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7071, help="port to listen on; 0 takes a free one")
    parser.add_argument(
        "--env-file", type=Path, help="local.settings.json whose Values are set unless the environment has them"
    )
    parser.add_argument("--quiet", action="store_true", help="print only the address, warnings and errors")
    parser.add_argument("--verbose", action="store_true", help="also log every successful invocation")
    parser.add_argument(
        "--message-lease",
        type=float,
        default=DEFAULT_LEASE,
        metavar="SECONDS",
        help="how long a queue message in work stays invisible at a time, and so is lost when the host is killed",
    )
    parser.add_argument(
        "--ahead", type=_seconds, default=0.0, metavar="SECONDS", help="start with a clock that is so far ahead"
    )
    parser.add_argument("--tied-to", type=int, metavar="PID", help=argparse.SUPPRESS)
    return Options(**vars(parser.parse_args(argv)))


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 100 * 365 * 86_400:
        raise argparse.ArgumentTypeError("the clock only moves forward, and by less than 100 years")
    return seconds


def _settings(env_file: Path | None) -> dict[str, str]:
    """The environment, over the Values of the settings file. Raises ConfigError for an unreadable file."""
    if env_file is None:
        return dict(os.environ)
    try:
        document = msgspec.json.decode(env_file.read_bytes(), type=dict[str, Any])
        values = msgspec.convert(document.get("Values", {}), dict[str, str])
    except (OSError, msgspec.MsgspecError) as error:
        raise host_config.ConfigError(f"the settings file {env_file} cannot be read: {error}") from error
    return values | dict(os.environ)


def _log_to_stderr(options: Options) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("[%(asctime)s] host %(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    level = logging.DEBUG if options.verbose else logging.WARNING if options.quiet else logging.INFO
    log.setLevel(level)


def _stop_at_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, stop.set)
    return stop


def _banner(host: Host, url: str) -> Iterable[str]:
    yield f"\nFunctions of {host.config.app_dir}:\n"
    for entry in host.entries.values():
        about = describe_trigger(host, entry)
        state = " (disabled)" if entry.is_disabled else ""
        match about["trigger"]:
            case "http":
                methods = ",".join(about["methods"]) or "every method"
                yield f"  {entry.name}{state}: [{methods}] {url}{about['route']} ({about['auth_level']})"
            case "timer":
                yield f"  {entry.name}{state}: timer {about['schedule']}"
            case _:
                yield f"  {entry.name}{state}: queue {about['queue']}"
    yield f"\nfunction key: {host.keys.function}\nmaster key:   {host.keys.master}\n"


def _headline(error: LocalCloudError) -> str:
    from local.host.apps import AppError

    return "The app cannot be loaded; this is what Python says:" if isinstance(error, AppError) else "Reason:"


if __name__ == "__main__":
    sys.exit(main())
