"""The whole cloud on one machine: Azurite, the emulators of Microsoft's services and of the PBX, the Functions host.

Tests start it on free ports; ``python -m local run`` starts it on known ones and runs a first sync.
"""

import contextlib
import os
import secrets
import shutil
import socket
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from local.azurite import Azurite
from local.child import ROOT, Child
from local.errors import LocalCloudError
from local.host.keys import Keys
from local.host.poller import DEFAULT_LEASE
from local.host.process import HostProcess
from local.sample import CLIENT_ID, CLIENT_SECRET, IDENTITY_CLIENT_ID, IDENTITY_HEADER, TENANT_ID
from local.tls import CertificateAuthority

PBX_CLIENT_ID = "local-bridge"
PBX_CLIENT_SECRET = "local-bridge-secret"
TRUST_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class Ports(msgspec.Struct, frozen=True):
    """Where things listen on loopback; 0 takes a free port."""

    functions: int = 0
    microsoft: int = 0
    pbx: int = 0


FREE_PORTS = Ports()


class Cloud:
    """``async with Cloud() as cloud: ...``; everything ends with the block.

    ``environment`` holds the application settings, as a deployment would give them. ``message_lease`` is how long a
    queue message in work stays invisible, in seconds: after a kill of the host it is lost for so long.
    """

    def __init__(
        self,
        *,
        ports: Ports = FREE_PORTS,
        app_dir: Path = ROOT,
        with_host: bool = True,
        microsoft_options: tuple[str, ...] = (),
        pbx_options: tuple[str, ...] = ("--sample",),
        extra_environment: Mapping[str, str] | None = None,
        persist: bool = False,
        message_lease: float = DEFAULT_LEASE,
    ) -> None:
        self._ports = ports
        self._app_dir = app_dir
        self._with_host = with_host
        self._microsoft_options = microsoft_options
        self._pbx_options = pbx_options
        self._message_lease = message_lease
        self._extra = dict(extra_environment or {})
        self._stack = contextlib.AsyncExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="local-cloud-"))
        self.azurite = Azurite(persist=persist)
        self.environment: dict[str, str] = {}
        self._parts: dict[str, Any] = {}
        self._ahead = 0.0

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    @property
    def microsoft_url(self) -> str:
        """Entra, Graph and Key Vault."""
        return str(self._parts["microsoft"].url)

    @property
    def pbx_url(self) -> str:
        return str(self._parts["pbx"].url)

    @property
    def host(self) -> HostProcess:
        """The Functions host."""
        host: HostProcess = self._parts["host"]
        return host

    @property
    def ca_file(self) -> Path:
        """The authority that vouches for the emulators."""
        return self.folder / "ca.pem"

    async def advance(self, seconds: float) -> None:
        """Move the clocks of the emulators, of the app and of its timers forward by the same, and wait for the timers
        that become due. Azurite and TLS keep the machine's time. Raises LocalCloudError when a part does not follow."""
        move = {"advance_seconds": seconds}
        context = ssl.create_default_context(cafile=self.ca_file)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, force_close=True)) as session:
            # The emulators first: what the timers start should find one time everywhere.
            for url in (self.microsoft_url, self.pbx_url):
                await _post(session, f"{url}/_control/clock", move)
            if self._with_host:
                key = {"x-functions-key": self.host.master_key}
                await _post(session, f"{self.host.url}/admin/host/clock", move, key)
        self._ahead += seconds

    def ended(self) -> set[str]:
        """The parts that ended by themselves."""
        parts = {"The emulator of Microsoft": self._parts["microsoft"], "The emulator of the PBX": self._parts["pbx"]}
        gone = {name for name, child in parts.items() if child.returncode is not None}
        gone |= {"Azurite"} if self.azurite.pid is None else set()
        return gone | ({"The Functions host"} if self._with_host and self.host.returncode is not None else set())

    async def restart_host(self, *, kill: bool = False) -> None:
        """End the Functions host (as a crash does, with ``kill``) and start it anew on the same state, at the same
        address and in the same time."""
        await (self.host.kill() if kill else self.host.stop())
        await self.host.launch(ahead=self._ahead)

    async def _start(self) -> None:
        authority = CertificateAuthority(self.folder)
        base = {name: value for name, value in os.environ.items() if name not in TRUST_VARIABLES}
        await self._stack.enter_async_context(self.azurite)
        await self._emulator(authority, base, "microsoft", self._ports.microsoft, self._microsoft_options)
        application = ("--client-id", PBX_CLIENT_ID, "--client-secret", PBX_CLIENT_SECRET)
        await self._emulator(authority, base, "pbx", self._ports.pbx, (*application, *self._pbx_options))
        # Graph is told the host's address by the app, which has to know it when it starts.
        port = self._ports.functions or self._stack.enter_context(_reserved()).getsockname()[1]
        public = {"PUBLIC_BASE_URL": f"http://localhost:{port}" if self._with_host else ""}
        self.environment = {**base, **self._settings(), **public, **self._extra}
        if self._with_host:
            self._parts["host"] = await self._stack.enter_async_context(
                HostProcess(
                    self._app_dir,
                    self.environment,
                    port=port,
                    keys=Keys(),
                    message_lease=self._message_lease,
                )
            )

    async def _emulator(
        self,
        authority: CertificateAuthority,
        env: Mapping[str, str],
        name: str,
        port: int,
        options: tuple[str, ...],
    ) -> None:
        files = authority.issue(name)
        tls = ("--certificate", str(files.certificate), "--key", str(files.key), "--trust", str(self.ca_file))
        child = Child(name, (name, "--port", str(port), *tls, *options), env)
        self._parts[name] = await self._stack.enter_async_context(child)

    def _settings(self) -> dict[str, str]:
        microsoft = self.microsoft_url
        return {
            "AzureWebJobsStorage": self.azurite.connection_string,
            "KEY_VAULT_URL": microsoft,
            "GRAPH_BASE_URL": f"{microsoft}/v1.0",
            "ENTRA_AUTHORITY_HOST": microsoft,
            "SSL_CERT_FILE": str(self.ca_file),
            "REQUESTS_CA_BUNDLE": str(self.ca_file),
            "IDENTITY_ENDPOINT": f"{microsoft}/msi/token",
            "IDENTITY_HEADER": IDENTITY_HEADER,
            "AZURE_CLIENT_ID": IDENTITY_CLIENT_ID,
            "ENTRA_TENANT_ID": TENANT_ID,
            "ENTRA_CLIENT_ID": CLIENT_ID,
            "PBX_FQDN": self.pbx_url.removeprefix("https://"),
            "PBX_CLIENT_ID": PBX_CLIENT_ID,
            "SETUP_KEY": secrets.token_urlsafe(18),
        }

    async def _close(self) -> None:
        try:
            await self._stack.aclose()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def _reserved() -> socket.socket:
    """Keeps a free port for a server of ours: with REUSEADDR that may listen on it, while the system gives it to nobody
    else."""
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    return kept


async def _post(
    session: aiohttp.ClientSession, url: str, body: dict[str, float], headers: Mapping[str, str] | None = None
) -> None:
    async with session.post(url, json=body, headers=headers) as response:
        if response.status != 200:
            raise LocalCloudError(f"{url} answered {response.status}: {await response.text()}")


def sample_secrets() -> dict[str, str]:
    """The secrets that the sample tenant and the sample PBX expect, by the bridge's names."""
    return {"entra-client-secret": CLIENT_SECRET, "pbx-client-secret": PBX_CLIENT_SECRET}
