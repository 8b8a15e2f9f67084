"""What a subscriber to presences needs: a certificate, a delegated token, and the keys to what comes."""

import base64
import datetime
import functools
import hmac
from typing import Any

import jwt
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from local import sample
from tests.microsoft.subscriber import Subscriber, ahead, post
from tests.microsoft.support import Answer, Client
from tests.microsoft.test_presence import act_for

ACCOUNT, OTHER_ACCOUNT = sample.user_id(4), sample.user_id(3)
CERTIFICATE_ID = "presence-2026-11"
PUBLISHER = "0bf30f3b-4a52-48df-9a82-234910c4a086"


@functools.cache
def private_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """Made once for each size: it takes its time."""
    return rsa.generate_private_key(65537, bits)


@functools.cache
def certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None) -> str:
    """Self-signed, as base64 DER."""
    key = key or private_key()
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bridge")]), datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=90))
        .sign(key, hashes.SHA256())
    )
    return base64.b64encode(made.public_bytes(Encoding.DER)).decode()


def rich(key: rsa.RSAPrivateKey | None = None, identifier: str = CERTIFICATE_ID) -> dict[str, Any]:
    return {
        "includeResourceData": True,
        "encryptionCertificate": certificate(key),
        "encryptionCertificateId": identifier,
    }


def watching(*ids: str) -> str:
    listed = ",".join(f"'{identifier}'" for identifier in ids)
    return f"/communications/presences?$filter=id in ({listed})"


async def ask(client: Client, subscriber: Subscriber, *ids: str, account: str = ACCOUNT, **changes: Any) -> Answer:
    """Ask for a subscription as the app and a signed-in account do."""
    act_for(client, account, "Presence.Read.All")
    usual = {
        "resource": watching(*ids),
        "changeType": "updated",
        "expirationDateTime": ahead(client, minutes=60),
    }
    return await post(client, subscriber, **{**usual, **changes})


async def watch(client: Client, subscriber: Subscriber, *ids: str, **changes: Any) -> dict[str, Any]:
    """The created subscription; the subscriber forgets the handshake."""
    answer = await ask(client, subscriber, *ids, **changes)
    assert answer.status == 201, answer.text
    subscriber.received.clear()
    made: dict[str, Any] = answer.json
    return made


def opened(content: dict[str, Any], key: rsa.RSAPrivateKey | None = None) -> Any:
    """What is inside, read as a careful subscriber reads it. ``ValueError`` for a signature that is not right."""
    data = base64.b64decode(content["data"])
    oaep = rsa_padding.OAEP(rsa_padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - as documented
    symmetric = (key or private_key()).decrypt(base64.b64decode(content["dataKey"]), oaep)
    if not hmac.compare_digest(hmac.digest(symmetric, data, "sha256"), base64.b64decode(content["dataSignature"])):
        raise ValueError("the signature is wrong")
    decryptor = Cipher(algorithms.AES(symmetric), modes.CBC(symmetric[:16])).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    text = unpadder.update(decryptor.update(data) + decryptor.finalize()) + unpadder.finalize()
    return msgspec.json.decode(text)


async def verified(client: Client, token: str, keys: str = "/common/discovery/v2.0/keys") -> dict[str, Any]:
    """The claims of a validation token, checked as the guide says; ``jwt.InvalidTokenError`` for a forged one."""
    published = (await client.send("GET", keys)).json["keys"]
    header = jwt.get_unverified_header(token)
    (key,) = [key for key in published if key["kid"] == header.get("kid")]
    issuers = [
        f"https://sts.windows.net/{sample.TENANT_ID}/",
        f"{client.emulator.url}/{sample.TENANT_ID}/v2.0",
    ]
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    claims: dict[str, Any] = jwt.decode(
        token, jwt.PyJWK(key), algorithms=["RS256"], audience=sample.CLIENT_ID, issuer=issuers, options=options
    )
    now = client.emulator.clock.time()
    if not claims["nbf"] - 300 <= now < claims["exp"]:
        raise jwt.ExpiredSignatureError("it is not its time")
    if claims.get("appid", claims.get("azp")) != PUBLISHER or claims["tid"] != sample.TENANT_ID:
        raise jwt.InvalidIssuerError("somebody else published it")
    return claims
