"""Microsoft's own clients against the emulator: what they send is understood, what they get they understand."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import ClientSecretCredential
from cryptography.hazmat.primitives import serialization

from local import sample
from local.microsoft import MicrosoftEmulator
from local.sample import group_id
from tests.microsoft.support import Client
from tests.microsoft.test_entra import KEY, PEM

PROGRAM = Path(__file__).with_name("real_clients.py")


def environment(emulator: MicrosoftEmulator, ca_file: Path, certificate: Path) -> dict[str, str]:
    """Everything that points Microsoft's clients at the emulator."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    return kept | {
        "SSL_CERT_FILE": str(ca_file),
        "REQUESTS_CA_BUNDLE": str(ca_file),
        "ENTRA_AUTHORITY_HOST": emulator.url,
        "GRAPH_BASE_URL": f"{emulator.url}/v1.0",
        "KEY_VAULT_URL": emulator.url,
        "IDENTITY_ENDPOINT": f"{emulator.url}/msi/token",
        "IDENTITY_HEADER": sample.IDENTITY_HEADER,
        "AZURE_CLIENT_ID": sample.IDENTITY_CLIENT_ID,
        "ENTRA_TENANT_ID": sample.TENANT_ID,
        "ENTRA_CLIENT_ID": sample.CLIENT_ID,
        "SECRET": sample.CLIENT_SECRET,
        "CERTIFICATE": str(certificate),
        "GROUP": group_id(1),
    }


async def test_all_clients_work_by_environment_alone(client: Client, ca_file: Path, tmp_path: Path) -> None:
    await client.control("PUT", "app", {"certificates": [{"pem": PEM}]})
    await client.control("PUT", "delta", {"page_size": 2})
    private = KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate = tmp_path / "app.pem"
    certificate.write_bytes(private + PEM.encode())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        env=environment(client.emulator, ca_file, certificate),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    found = json.loads(out)
    assert found["credentials"] == {"secret": True, "certificate": True, "identity": True, "federated": True}
    assert found["vault"] == {"value": "two", "versions": 2, "names": ["entra-client-secret"]}
    assert found["graph"] == {
        "pages": 3,
        "names": ["Noor Bakker", "Imre Szabo", "Seán O'Brien", "Mara Jansen", "Luca Rossi"],
        "refused": [400, "Request_UnsupportedQuery"],
        "deleted": 1,
        "hints": ["Old", "Smp"],
        "heavy": False,
    }


@pytest.mark.parametrize(
    ("secret", "code"), [("wrong", "AADSTS7000215"), (sample.EXPIRED_CLIENT_SECRET, "AADSTS7000222")]
)
async def test_azure_identity_shows_the_reason_of_a_refusal(
    emulator: MicrosoftEmulator, ca_file: Path, secret: str, code: str
) -> None:
    async with ClientSecretCredential(
        sample.TENANT_ID,
        sample.CLIENT_ID,
        secret,
        authority=emulator.url,
        disable_instance_discovery=True,
        connection_verify=str(ca_file),
    ) as credential:
        with pytest.raises(ClientAuthenticationError, match=code) as caught:
            await credential.get_token("https://graph.microsoft.com/.default")
    assert caught.value.response is not None
    assert caught.value.response.status_code == 401
