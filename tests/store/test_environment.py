"""The application settings of a deployment."""

import os

import pytest

from store.environment import Environment, StorageAccount, read_environment, trust_private_authority
from store.identity import azure_credential


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("", "https://graph.microsoft.com/v1.0"),
        ("https://graph.microsoft.com", "https://graph.microsoft.com/v1.0"),
        ("https://graph.microsoft.com/v1.0/", "https://graph.microsoft.com/v1.0"),
        ("graph.microsoft.us", "https://graph.microsoft.us/v1.0"),
        ("https://localhost:8443/beta", "https://localhost:8443/beta"),
    ],
)
def test_the_address_of_graph_may_carry_its_version(given: str, read: str) -> None:
    assert read_environment({"GRAPH_BASE_URL": given}).graph_base_url == read


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("", "https://login.microsoftonline.com"),
        ("login.microsoftonline.us", "https://login.microsoftonline.us"),
        (" https://localhost:8443/ ", "https://localhost:8443"),
    ],
)
def test_the_authority_may_be_a_mere_host_name(given: str, read: str) -> None:
    assert read_environment({"ENTRA_AUTHORITY_HOST": given}).entra_authority == read


@pytest.mark.parametrize("name", ["GRAPH_BASE_URL", "ENTRA_AUTHORITY_HOST", "KEY_VAULT_URL"])
@pytest.mark.parametrize("value", ["http://localhost:1", "ftp://x"])
def test_an_address_without_tls_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        read_environment({name: value})


@pytest.mark.parametrize(
    ("values", "storage"),
    [
        ({"AzureWebJobsStorage": "AccountName=x"}, StorageAccount(connection_string="AccountName=x")),
        (
            {"AzureWebJobsStorage__accountName": "bridge"},
            StorageAccount(table_uri="https://bridge.table.core.windows.net"),
        ),
        (
            {
                "AzureWebJobsStorage__accountName": "bridge",
                "AzureWebJobsStorage__tableServiceUri": "https://t.example/",
                "AzureWebJobsStorage__clientId": "id",
            },
            StorageAccount(table_uri="https://t.example", client_id="id"),
        ),
        ({}, StorageAccount()),
    ],
    ids=["connection string", "account name", "address and identity", "nothing"],
)
def test_storage_is_given_as_text_or_as_identity(values: dict[str, str], storage: StorageAccount) -> None:
    assert read_environment(values).storage == storage


def test_everything_a_deployment_may_give_is_read() -> None:
    read = read_environment(
        {
            "KEY_VAULT_URL": "https://v.vault.azure.net/",
            "AZURE_CLIENT_ID": "identity",
            "IDENTITY_ENDPOINT": "http://localhost:42356/msi/token",
            "PUBLIC_BASE_URL": "https://bridge.example.com/",
            "ENTRA_TENANT_ID": "tenant",
            "ENTRA_CLIENT_ID": "client",
            "PBX_FQDN": "pbx.example.com",
            "PBX_CLIENT_ID": "api",
            "SETUP_KEY": " a-setup-key\n",
        }
    )
    assert read == Environment(
        storage=StorageAccount(),
        key_vault_url="https://v.vault.azure.net",
        identity_client_id="identity",
        has_identity=True,
        public_base_url="https://bridge.example.com",
        tenant_id="tenant",
        client_id="client",
        pbx_fqdn="pbx.example.com",
        pbx_client_id="api",
        setup_key="a-setup-key",
    )


def test_the_application_settings_do_not_show_their_secrets() -> None:
    read = read_environment({"SETUP_KEY": "a-setup-key", "AzureWebJobsStorage": "AccountKey=a-storage-key"})
    for text in (repr(read), str(read), f"{read}"):
        assert "a-setup-key" not in text
        assert "a-storage-key" not in text


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PBX_FQDN", "from-the-process.example")
    assert read_environment().pbx_fqdn == "from-the-process.example"


def test_a_bundle_for_requests_is_trusted_by_openssl_unless_that_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/bundle.pem")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    trust_private_authority()
    assert os.environ["SSL_CERT_FILE"] == "/bundle.pem"
    monkeypatch.setenv("SSL_CERT_FILE", "/own.pem")
    trust_private_authority()
    assert os.environ["SSL_CERT_FILE"] == "/own.pem"


async def test_only_an_emulator_on_loopback_gets_the_token_that_says_nothing() -> None:
    without = Environment(storage=StorageAccount())
    names = {}
    for target in (
        "https://localhost:8443",
        "https://127.0.0.1:8443",
        "https://v.vault.azure.net",
        "https://localhost.evil.example",
    ):
        async with azure_credential(without, target) as credential:
            names[target] = type(credential).__name__
    assert list(names.values()) == ["_EmulatorCredential", "_EmulatorCredential", *["DefaultAzureCredential"] * 2]


async def test_the_managed_identity_goes_before_everything() -> None:
    with_identity = Environment(storage=StorageAccount(), has_identity=True, identity_client_id="id")
    async with azure_credential(with_identity, "https://localhost:8443") as credential:
        assert type(credential).__name__ == "ManagedIdentityCredential"
