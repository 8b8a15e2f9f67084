"""Starts Azurite, Microsoft's storage emulator, from node_modules: tables, queues and blobs on free loopback ports."""

import asyncio
import contextlib
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from local.errors import LocalCloudError
from local.host.lifeline import tied

VERSION = "3.35.0"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The emulator's well-known account and key ("Use the Azurite emulator", learn.microsoft.com); they protect nothing."""

_ROOT = Path(__file__).resolve().parents[1]
_OLDEST_NODE = 20
_START_PATIENCE = 30.0  # seconds
_STOP_PATIENCE = 3.0  # seconds before it is killed
_START_ATTEMPTS = 3  # a port that was free may be taken before Azurite binds it


class Azurite:
    """A running Azurite. ``async with Azurite() as azurite: ...``; it ends with the block, or with us.

    ``persist`` keeps the data on disk (in a scratch folder, or ``folder``) so that ``restart`` finds it again; without
    it everything is in memory. Start it from a thread that outlives it: it is tied to that thread.
    """

    def __init__(
        self, *, persist: bool = False, folder: Path | None = None, modules: Path = _ROOT / "node_modules"
    ) -> None:
        self._persist = persist or folder is not None
        self._given_folder = folder
        self._modules = modules
        self._folder: Path | None = None
        self._ports: tuple[int, int, int] | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        self._discard_folder()

    @property
    def connection_string(self) -> str:
        """For AzureWebJobsStorage and the Azure clients. Raises LocalCloudError before the first start."""
        blob, queue, table = self._known_ports()
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint=http://127.0.0.1:{blob}/{ACCOUNT};"
            f"QueueEndpoint=http://127.0.0.1:{queue}/{ACCOUNT};"
            f"TableEndpoint=http://127.0.0.1:{table}/{ACCOUNT};"
        )

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it and wait until all three services answer. Raises LocalCloudError saying what is missing."""
        node = await _node()
        script = _script(self._modules)
        if self._folder is None:
            self._folder = self._given_folder or Path(tempfile.mkdtemp(prefix="azurite-"))
            self._folder.mkdir(parents=True, exist_ok=True)
        keep_ports = self._ports is not None
        for attempt in range(1, _START_ATTEMPTS + 1):
            ports = self._ports if keep_ports and self._ports is not None else _free_ports()
            self._ports = ports
            if await self._launch(node, script, ports):
                return
            if attempt == _START_ATTEMPTS:
                raise LocalCloudError(f"Azurite ended while it started: {self._log()}")

    async def stop(self) -> None:
        """End it; in-memory data is gone, data on disk stays until the block ends."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP_PATIENCE)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def restart(self) -> None:
        """Stop and start on the same ports. Raises LocalCloudError without ``persist``: the data would be lost."""
        if not self._persist:
            raise LocalCloudError("an Azurite that keeps its data in memory loses it in a restart: use persist=True")
        await self.stop()
        await self.start()

    async def _launch(self, node: str, script: Path, ports: tuple[int, int, int]) -> bool:
        """Whether it came up."""
        folder = self._known_folder()
        with (folder / "azurite.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *tied([node, str(script), *self._flags(ports)]),
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        waiting = asyncio.ensure_future(_answers(ports))
        dying = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait([waiting, dying], timeout=_START_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.stop()
            raise
        finally:
            waiting.cancel()
            dying.cancel()
        if waiting.done() or dying.done():
            return waiting.done()
        await self.stop()
        raise LocalCloudError(f"Azurite did not answer within {_START_PATIENCE:.0f} s: {self._log()}")

    def _flags(self, ports: tuple[int, int, int]) -> list[str]:
        names = ("blob", "queue", "table")
        flags = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]  # the SDKs are newer than this Azurite
        flags += [part for name, port in zip(names, ports, strict=True) for part in (f"--{name}Port", str(port))]
        # The two exclude each other.
        return [*flags, "--location", str(self._known_folder())] if self._persist else [*flags, "--inMemoryPersistence"]

    def _known_ports(self) -> tuple[int, int, int]:
        if self._ports is None:
            raise LocalCloudError("Azurite was not started")
        return self._ports

    def _known_folder(self) -> Path:
        if self._folder is None:
            raise LocalCloudError("Azurite was not started")
        return self._folder

    def _log(self) -> str:
        return (self._known_folder() / "azurite.log").read_text(errors="replace").strip() or "it printed nothing"

    def _discard_folder(self) -> None:
        if self._folder is not None and self._given_folder is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


async def _node() -> str:
    """The program's path. Raises LocalCloudError when it is missing or too old."""
    node = shutil.which("node")
    if node is None:
        raise LocalCloudError(f"Azurite needs Node.js {_OLDEST_NODE} or newer, and there is no `node` on the PATH")
    process = await asyncio.create_subprocess_exec(node, "--version", stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    version = output.decode(errors="replace").strip()
    major = version.removeprefix("v").partition(".")[0]
    if not major.isdigit() or int(major) < _OLDEST_NODE:
        raise LocalCloudError(f"Azurite needs Node.js {_OLDEST_NODE} or newer; {node} is {version or 'unknown'}")
    return node


def _script(modules: Path) -> Path:
    """Azurite's entry point. Raises LocalCloudError when it is not installed, or in another version than the pinned."""
    package = modules / "azurite" / "package.json"
    if not package.is_file():
        raise LocalCloudError(f"Azurite is not in {modules}: run `npm ci` in {modules.parent}")
    version = msgspec.json.decode(package.read_bytes())["version"]
    if version != VERSION:
        raise LocalCloudError(f"Azurite {VERSION} is wanted, {modules} has {version}: run `npm ci` in {modules.parent}")
    return modules / "azurite" / "dist" / "src" / "azurite.js"


def _free_ports() -> tuple[int, int, int]:
    sockets = [socket.socket() for _ in range(3)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        blob, queue, table = (int(one.getsockname()[1]) for one in sockets)
    finally:
        for one in sockets:
            one.close()
    return blob, queue, table


async def _answers(ports: tuple[int, int, int]) -> None:
    """Return when every port speaks HTTP; a bare request is refused with 400, which is answer enough."""
    for port in ports:
        while not await _answers_one(port):  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(0.05)


async def _answers_one(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        return (await reader.readline()).startswith(b"HTTP/1.1")
    except OSError:
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
