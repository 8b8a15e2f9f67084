"""Entra's sign-in errors in plain words (https://learn.microsoft.com/entra/identity-platform/reference-error-codes)."""

import re

from graph.errors import CredentialsRejected, Unavailable

CODE = re.compile(r"AADSTS(\d+)")

NEW_CLIENT = "Create a new client secret under Certificates & secrets of the app registration and store its value here."
CERTIFICATE = (
    "Upload the certificate's public part to the app registration, and store the certificate with its key here."
)
IDS = "Compare tenant id and client id with the Overview page of the app registration."
FEDERATED = (
    "Compare issuer, subject and audience of the federated credential with the managed identity of the function app."
)

IDENTITY = (
    "Assign the user-assigned managed identity to the function app under Identity, and compare its client id with the "
    "app setting."
)

NOT_KNOWN = (
    "Entra does not know this client secret. Often the secret's id was copied instead of its value; a secret made a "
    "moment ago can take two minutes to be known"
)

WORDS: dict[int, tuple[str, str, str]] = {
    7000215: (
        "entra_secret_wrong",
        NOT_KNOWN,
        NEW_CLIENT,
    ),
    7000222: ("entra_secret_expired", "the client secret of the application has expired", NEW_CLIENT),
    700016: ("entra_application_unknown", "the tenant does not know the application (client) id", IDS),
    90002: ("entra_tenant_unknown", "there is no tenant with this id", IDS),
    900023: ("entra_tenant_unknown", "the tenant id is neither a GUID nor a domain of a tenant", IDS),
    700027: ("entra_certificate_unknown", "the certificate is not registered with the application", CERTIFICATE),
    700024: (
        "entra_assertion_time",
        "Entra refuses the certificate's signature as outside its time window",
        "Check the clock of this machine.",
    ),
    70021: ("entra_federation_mismatch", "no federated credential matches the managed identity", FEDERATED),
    700213: ("entra_federation_mismatch", "no federated credential matches the managed identity", FEDERATED),
    7000112: (
        "entra_application_disabled",
        "the application is disabled in the tenant",
        "Enable it under Enterprise applications > Properties > Enabled for users to sign in.",
    ),
    65001: ("graph_consent_missing", "nobody has consented to the application in this tenant", "Grant admin consent."),
}


def from_identity(status: int | None) -> CredentialsRejected | Unavailable:
    """The typed error for a managed identity that gives no token; ``status`` is its endpoint's answer, if any."""
    if status is not None and (status in {408, 429} or status >= 500):
        return Unavailable(f"the managed identity cannot issue a token now (HTTP {status})")
    named = f"HTTP {status}" if status is not None else "its endpoint is not there"
    return CredentialsRejected(
        f"the function app's managed identity gives no token ({named})", IDENTITY, "entra_identity_missing"
    )


def from_entra(text: str, status: int | None) -> CredentialsRejected | Unavailable:
    """The typed error for what azure-identity reports; ``text`` is its message, of which only the number is used."""
    found = CODE.search(text)
    number = int(found.group(1)) if found else 0
    if number in WORDS:
        code, words, action = WORDS[number]
        return CredentialsRejected(f"{words} (AADSTS{number})", action, code)
    if status is not None and (status in {408, 429} or status >= 500):
        return Unavailable(f"Entra cannot issue a token now (HTTP {status})")
    if found is None and status is not None and status < 400:
        return Unavailable("Entra's answer was cut off")
    if found is None and status is None:
        return Unavailable("Entra's token service cannot be reached")
    named = f"AADSTS{number}" if number else f"HTTP {status}"
    return CredentialsRejected(f"Entra refuses to sign the application in ({named})")
