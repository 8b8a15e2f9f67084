"""The token endpoint: who gets a token, who is refused, and with which error."""

import base64
import datetime
import time
import uuid
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from local import sample
from local.microsoft.apps import certificate_from_pem
from tests.microsoft.support import Answer, Client

NOBODY = "0f0f0f0f-0000-4000-8000-00000000000f"

GRAPH_SCOPE = "https://graph.microsoft.com/.default"
FORM = {
    "grant_type": "client_credentials",
    "client_id": sample.CLIENT_ID,
    "client_secret": sample.CLIENT_SECRET,
    "scope": GRAPH_SCOPE,
}


async def ask(client: Client, tenant: str = sample.TENANT_ID, headers: Any = None, **changes: str | None) -> Answer:
    form = {name: value for name, value in {**FORM, **changes}.items() if value is not None}
    client.token = None
    return await client.send("POST", f"/{tenant}/oauth2/v2.0/token", data=form, headers=headers or {})


def assert_refused(answer: Answer, code: int, error: str, status: int) -> None:
    assert (answer.status, answer.json["error"], answer.json["error_codes"]) == (status, error, [code])
    description = answer.json["error_description"]
    assert description.startswith(f"AADSTS{code}: ")
    assert f"Trace ID: {answer.json['trace_id']}" in description
    assert f"Correlation ID: {answer.json['correlation_id']}" in description
    assert description.endswith(f"Timestamp: {answer.json['timestamp']}")
    assert answer.json["error_uri"].endswith(f"/error?code={code}")


@pytest.mark.parametrize("tenant", [sample.TENANT_ID, "contoso.example", "CONTOSO.onmicrosoft.example"])
async def test_a_secret_gets_a_token_whichever_way_the_tenant_is_named(client: Client, tenant: str) -> None:
    answer = await ask(client, tenant=tenant)
    assert answer.status == 200
    assert {name: answer.json[name] for name in ("token_type", "expires_in", "ext_expires_in")} == {
        "token_type": "Bearer",
        "expires_in": 3599,
        "ext_expires_in": 3599,
    }
    assert "refresh_token" not in answer.json
    keys = (await client.send("GET", f"/{tenant}/discovery/v2.0/keys")).json["keys"]
    key = jwt.PyJWK(keys[0])
    claims = jwt.decode(answer.json["access_token"], key, algorithms=["RS256"], audience="https://graph.microsoft.com")
    assert claims["iss"] == f"https://sts.windows.net/{sample.TENANT_ID}/"
    assert (claims["appid"], claims["tid"], claims["oid"]) == (
        sample.CLIENT_ID,
        sample.TENANT_ID,
        sample.SERVICE_PRINCIPAL_ID,
    )
    assert claims["roles"] == list(sample.ROLES)
    assert claims["exp"] - claims["iat"] == 3599


async def test_a_secret_may_come_in_a_basic_header(client: Client) -> None:
    basic = base64.b64encode(f"{sample.CLIENT_ID}:{sample.CLIENT_SECRET}".encode()).decode()
    answer = await ask(client, headers={"Authorization": f"Basic {basic}"}, client_id=None, client_secret=None)
    assert answer.status == 200


@pytest.mark.parametrize(
    ("changes", "code", "error", "status"),
    [
        ({"client_secret": "wrong"}, 7000215, "invalid_client", 401),
        ({"client_secret": sample.EXPIRED_CLIENT_SECRET}, 7000222, "invalid_client", 401),
        ({"client_secret": None}, 7000218, "invalid_client", 401),
        ({"client_id": NOBODY}, 700016, "unauthorized_client", 400),
        ({"client_id": None}, 900144, "invalid_request", 400),
        ({"grant_type": None}, 900144, "invalid_request", 400),
        ({"grant_type": "password"}, 70003, "unsupported_grant_type", 400),
        ({"scope": None}, 900144, "invalid_request", 400),
        ({"scope": "https://graph.microsoft.com/User.Read.All"}, 1002012, "invalid_scope", 400),
        ({"scope": f"{GRAPH_SCOPE} openid"}, 70011, "invalid_scope", 400),
        ({"scope": "https://localhost/.default"}, 500011, "invalid_resource", 400),
        ({"client_assertion": "x"}, 9002313, "invalid_request", 400),
        ({"client_assertion": "x", "client_secret": None}, 9002313, "invalid_request", 400),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_refusals(client: Client, changes: dict[str, str], code: int, error: str, status: int) -> None:
    assert_refused(await ask(client, **changes), code, error, status)


@pytest.mark.parametrize("tenant", ["99999999-9999-4999-8999-999999999999", "nobody.example"])
async def test_an_unknown_tenant_is_not_found(client: Client, tenant: str) -> None:
    assert_refused(await ask(client, tenant=tenant), 90002, "invalid_request", 400)


async def test_an_application_cannot_sign_in_through_common(client: Client) -> None:
    assert_refused(await ask(client, "common"), 50059, "invalid_request", 400)


async def test_a_body_that_is_no_form_is_malformed(client: Client) -> None:
    answer = await client.send("POST", f"/{sample.TENANT_ID}/oauth2/v2.0/token", json=FORM)
    assert_refused(answer, 9002313, "invalid_request", 400)


async def test_the_client_request_id_comes_back(client: Client) -> None:
    own = str(uuid.uuid4())
    answer = await ask(client, headers={"client-request-id": own}, client_secret="wrong")
    assert answer.json["correlation_id"] == own
    assert answer.headers["client-request-id"] == own


async def test_a_secret_expires_by_the_emulators_clock(client: Client) -> None:
    end = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)).isoformat()
    start = "2026-01-01T00:00:00Z"
    secrets = [{"secret": "short-lived", "start": start, "end": end}, {"secret": "other"}]
    assert (await client.control("PUT", "app", {"secrets": secrets})).status == 200
    assert (await ask(client, client_secret="short-lived")).status == 200
    await client.control("POST", "clock", {"advance_seconds": 86_401})
    assert_refused(await ask(client, client_secret="short-lived"), 7000222, "invalid_client", 401)
    assert (await ask(client, client_secret="other")).status == 200


# Certificates


def make_certificate(days: int = 30) -> tuple[rsa.RSAPrivateKey, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bridge")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=100))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return key, certificate.public_bytes(serialization.Encoding.PEM).decode()


KEY, PEM = make_certificate()
THUMBPRINT = {"x5t#S256": certificate_from_pem("k", PEM).sha256}


async def ask_with_assertion(
    client: Client, *, alg: str = "PS256", header: Any = None, key: Any = KEY, **changes: Any
) -> Answer:
    now = int(time.time())
    audience = f"{client.emulator.url}/{sample.TENANT_ID}/oauth2/v2.0/token"
    usual = {"aud": audience, "iss": sample.CLIENT_ID, "sub": sample.CLIENT_ID, "jti": str(uuid.uuid4())}
    claims = {**usual, "nbf": now, "exp": now + 300, **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    assertion = jwt.encode(claims, key, algorithm=alg, headers=THUMBPRINT if header is None else header)
    return await send_assertion(client, assertion)


async def send_assertion(client: Client, assertion: str) -> Answer:
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    return await ask(client, client_secret=None, client_assertion=assertion, client_assertion_type=kind)


@pytest.fixture
async def certified(client: Client) -> Client:
    await client.control("PUT", "app", {"certificates": [{"pem": PEM}]})
    return client


@pytest.mark.parametrize(
    "options",
    [
        {"alg": "PS256"},
        {"alg": "RS256"},
        {"header": {"x5t": certificate_from_pem("k", PEM).sha1}},
        {"nbf": None},
    ],
    ids=["PS256", "RS256", "SHA-1", "no-nbf"],
)
async def test_an_assertion_of_a_registered_certificate_gets_a_token(certified: Client, options: Any) -> None:
    assert (await ask_with_assertion(certified, **options)).status == 200


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"key": rsa.generate_private_key(65537, 2048)}, 700027),
        ({"header": {"x5t#S256": "unknown"}}, 700027),
        ({"header": {}}, 700027),
        ({"jti": None}, 700027),
        ({"alg": "RS512"}, 700027),
        ({"exp": int(time.time()) - 400}, 700024),
        ({"nbf": int(time.time()) + 4000}, 700024),
        ({"exp": None}, 700024),
        ({"aud": "https://login.microsoftonline.com/other/v2.0"}, 700023),
        ({"iss": "someone"}, 700021),
        ({"sub": "someone"}, 700021),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_other_assertions_are_refused(certified: Client, options: Any, code: int) -> None:
    assert_refused(await ask_with_assertion(certified, **options), code, "invalid_client", 401)


async def test_an_assertion_can_be_used_once(certified: Client) -> None:
    assert (await ask_with_assertion(certified, jti="same")).status == 200
    assert_refused(await ask_with_assertion(certified, jti="same"), 700027, "invalid_client", 401)


async def test_an_expired_certificate_is_refused(client: Client) -> None:
    key, pem = make_certificate(days=-1)
    await client.control("PUT", "app", {"certificates": [{"pem": pem}]})
    header = {"x5t#S256": certificate_from_pem("k", pem).sha256}
    assert_refused(await ask_with_assertion(client, key=key, header=header), 700027, "invalid_client", 401)


# The managed identity instead of a secret


async def exchange_token(client: Client) -> str:
    answer = await client.send(
        "GET",
        "/msi/token?api-version=2019-08-01&resource=api://AzureADTokenExchange",
        headers={"X-IDENTITY-HEADER": sample.IDENTITY_HEADER},
    )
    return str(answer.json["access_token"])


async def test_a_managed_identity_token_stands_in_for_a_secret_again_and_again(client: Client) -> None:
    token = await exchange_token(client)
    assert (await send_assertion(client, token)).status == 200
    assert (await send_assertion(client, token)).status == 200


@pytest.mark.parametrize(
    ("change", "code", "error", "status"),
    [
        ({"issuer": "https://elsewhere.example"}, 70021, "invalid_request", 400),
        ({"subject": "someone else"}, 700213, "invalid_client", 401),
        ({"audience": "api://other"}, 70021, "invalid_request", 400),
    ],
    ids=["issuer", "subject", "audience"],
)
async def test_a_federated_credential_has_to_match(
    client: Client, change: dict[str, str], code: int, error: str, status: int
) -> None:
    fitting = {
        "name": "identity",
        "issuer": "{authority}/" + f"{sample.TENANT_ID}/v2.0",
        "subject": sample.IDENTITY_PRINCIPAL_ID,
    }
    await client.control("PUT", "app", {"federated": [{**fitting, **change}]})
    assert_refused(await send_assertion(client, await exchange_token(client)), code, error, status)


async def test_without_federated_credentials_no_identity_is_trusted(client: Client) -> None:
    await client.control("PUT", "app", {"federated": []})
    assert_refused(await send_assertion(client, await exchange_token(client)), 70021, "invalid_request", 400)


async def test_a_forged_identity_token_is_refused(client: Client) -> None:
    claims = jwt.decode(await exchange_token(client), options={"verify_signature": False})
    forged = jwt.encode(claims, KEY, algorithm="RS256", headers={"kid": client.emulator.keys.current.kid})
    assert_refused(await send_assertion(client, forged), 700027, "invalid_client", 401)


# Discovery and keys


async def test_discovery_of_a_tenant(client: Client) -> None:
    document = (await client.send("GET", "/contoso.example/v2.0/.well-known/openid-configuration")).json
    base = f"{client.emulator.url}/{sample.TENANT_ID}"
    assert document["issuer"] == f"{base}/v2.0"
    assert document["token_endpoint"] == f"{base}/oauth2/v2.0/token"
    assert document["jwks_uri"] == f"{base}/discovery/v2.0/keys"
    assert document["response_modes_supported"] == ["query", "fragment", "form_post"]
    assert document["id_token_signing_alg_values_supported"] == ["RS256"]


async def test_discovery_of_common_leaves_the_tenant_open(client: Client) -> None:
    document = (await client.send("GET", "/common/v2.0/.well-known/openid-configuration")).json
    assert document["issuer"] == f"{client.emulator.url}/{{tenantid}}/v2.0"
    keys = (await client.send("GET", "/common/discovery/v2.0/keys")).json["keys"]
    assert keys[0]["issuer"] == f"{client.emulator.url}/{{tenantid}}/v2.0"


@pytest.mark.parametrize("tail", ["v2.0/.well-known/openid-configuration", "discovery/v2.0/keys"])
async def test_an_unknown_tenant_has_no_documents(client: Client, tail: str) -> None:
    assert_refused(await client.send("GET", f"/nobody.example/{tail}"), 90002, "invalid_request", 400)


async def test_keys_are_published_with_certificate_and_issuer(client: Client) -> None:
    (key,) = (await client.send("GET", f"/{sample.TENANT_ID}/discovery/v2.0/keys")).json["keys"]
    assert (key["kty"], key["use"], key["kid"]) == ("RSA", "sig", key["x5t"])
    assert key["issuer"] == f"{client.emulator.url}/{sample.TENANT_ID}/v2.0"
    certificate = x509.load_der_x509_certificate(base64.b64decode(key["x5c"][0]))
    assert certificate.public_key() == jwt.PyJWK(key).key


async def test_after_a_rotation_old_tokens_work_until_the_old_key_is_withdrawn(client: Client) -> None:
    token = (await ask(client)).json["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    kids = (await client.control("POST", "rotate-keys")).json["kids"]
    assert len(kids) == 2
    fresh = (await ask(client)).json["access_token"]
    assert jwt.get_unverified_header(fresh)["kid"] == kids[0]
    assert (await client.send("GET", "/v1.0/users", headers=bearer)).status == 200
    await client.control("POST", "rotate-keys", {"keep": False})
    assert (await client.send("GET", "/v1.0/users", headers=bearer)).status == 401
