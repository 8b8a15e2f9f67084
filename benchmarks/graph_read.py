"""Reading 10,000 users: processor time a page with our decoding, beside msgraph-sdk's own models on the same pages."""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.memory import peak_mb
from local.child import Child
from local.sample import CLIENT_ID, CLIENT_SECRET, TENANT_ID
from local.tls import CertificateAuthority

USERS = 10_000
PAGE = 200
SDK_PAGES = 4
"""The SDK's models take about half a second a page; a few pages tell."""


class Reading(msgspec.Struct, frozen=True):
    """What one way of reading cost."""

    first_ms: float
    """Wall time from the start of the work to the first page, imports and sign-in included."""
    page_ms: float
    """Processor time of each further page."""
    pages: int
    users: int
    peak_mb: float
    has_models: bool


async def ours(base_url: str) -> Reading:
    """As the product reads."""
    from graph.client import Graph
    from graph.credentials import Application, ApplicationCredential
    from graph.models import BASE_SELECT

    application = Application(
        tenant_id=TENANT_ID, client_id=CLIENT_ID, authority=base_url, kind="secret", proof=CLIENT_SECRET
    )
    meter = Meter()
    async with Graph(f"{base_url}/v1.0", ApplicationCredential(application)) as graph:
        async for page in graph.user_pages(BASE_SELECT):
            meter.page(len(page.value))
    return meter.result()


async def sdk(base_url: str) -> Reading:
    """As the SDK's documentation shows it: builders, models, links followed by hand."""
    from azure.identity.aio import ClientSecretCredential
    from kiota_abstractions.base_request_configuration import RequestConfiguration
    from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
    from msgraph.generated.users.delta.delta_request_builder import DeltaRequestBuilder
    from msgraph.graph_request_adapter import GraphRequestAdapter
    from msgraph.graph_service_client import GraphServiceClient

    from graph.models import BASE_SELECT

    meter = Meter()
    credential = ClientSecretCredential(
        TENANT_ID, CLIENT_ID, CLIENT_SECRET, authority=base_url, disable_instance_discovery=True
    )
    scopes = ["https://graph.microsoft.com/.default"]
    provider = AzureIdentityAuthenticationProvider(credential, scopes=scopes, allowed_hosts=["localhost"])
    adapter = GraphRequestAdapter(provider)
    adapter.base_url = f"{base_url}/v1.0"
    client = GraphServiceClient(request_adapter=adapter)
    query = DeltaRequestBuilder.DeltaRequestBuilderGetQueryParameters(select=list(BASE_SELECT))
    page = await client.users.delta.get(RequestConfiguration(query_parameters=query))
    while page is not None:
        meter.page(len(page.value or []))
        if meter.pages > SDK_PAGES or page.odata_next_link is None:
            break
        page = await client.users.delta.with_url(page.odata_next_link).get()
    await credential.close()
    return meter.result()


class Meter:
    """Counts pages and what they cost this process."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._first = 0.0
        self._cpu = 0.0
        self.pages = 0
        self.users = 0

    def page(self, users: int) -> None:
        self.pages += 1
        self.users += users
        if self.pages == 1:
            self._first = time.perf_counter() - self._started
            self._cpu = time.process_time()

    def result(self) -> Reading:

        further = max(1, self.pages - 1)
        return Reading(
            first_ms=self._first * 1000,
            page_ms=(time.process_time() - self._cpu) / further * 1000,
            pages=self.pages,
            users=self.users,
            peak_mb=peak_mb(),
            has_models="msgraph.generated.models.user" in sys.modules,
        )


def main() -> None:
    """Start the emulator with 10,000 users and let each way read it in a process of its own."""
    asyncio.run(_main())


async def _main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = CertificateAuthority(Path(folder)).issue("microsoft")
        tls = ("--certificate", str(files.certificate), "--key", str(files.key))
        size = ("--users", str(USERS), "--groups", "10", "--page-size", str(PAGE))
        env = {**os.environ, "SSL_CERT_FILE": str(Path(folder) / "ca.pem")}
        env.pop("SSL_CERT_DIR", None)
        async with Child("microsoft", ("microsoft", "--port", "0", *tls, *size), env) as emulator:
            mine, theirs = await _read("ours", emulator.url, env), await _read("sdk", emulator.url, env)
    print(f"Reading users/delta, pages of {PAGE} (processor time of the reading process, each further page)")
    for name, reading in (("bytes and msgspec", mine), ("msgraph-sdk's models", theirs)):
        print(
            f"  {name:<22} {reading.page_ms:8.2f} ms a page   first page after {reading.first_ms:6.0f} ms   "
            f"{reading.users} users   peak {reading.peak_mb:.0f} MB   models imported: {reading.has_models}"
        )
    print(f"  ratio {theirs.page_ms / mine.page_ms:.0f} to 1")


async def _read(way: str, url: str, env: dict[str, str]) -> Reading:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.graph_read", way, url, env=env, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return msgspec.json.decode(output, type=Reading)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        reading = asyncio.run({"ours": ours, "sdk": sdk}[sys.argv[1]](sys.argv[2]))
        sys.stdout.buffer.write(msgspec.json.encode(reading))
    else:
        main()
