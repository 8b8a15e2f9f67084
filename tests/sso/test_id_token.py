"""What an ID token has to stand up to before anybody is signed in by it."""

import datetime
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from local.microsoft.apps import base64url
from local.sample import CLIENT_ID, TENANT_ID
from sso.authority import Authority, Jwk, find_authority, find_key
from sso.errors import ForeignTenant, InvalidToken
from sso.failures import Failed
from sso.id_token import SKEW, Claims, checked, read_id_token
from sso.signin import Completed
from tests.sso.site import NOOR, NOOR_ACCOUNT, Site

ISSUER = f"https://login.example/{TENANT_ID}/v2.0"
OTHER = "99999999-9999-4999-8999-999999999999"
NOW = datetime.datetime(2026, 3, 2, 9, 0, tzinfo=datetime.UTC)
AUTHORITY = Authority(
    issuer=ISSUER, jwks_uri="https://login.example/keys", tenant_id=TENANT_ID, document=b"", read_at=NOW
)
PRIVATE = rsa.generate_private_key(65537, 2048)


def number(value: int) -> str:
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


PUBLIC = PRIVATE.public_key().public_numbers()
KEY = Jwk(kid="key", kty="RSA", n=number(PUBLIC.n), e=number(PUBLIC.e), issuer=ISSUER)


def token(**changes: Any) -> str:
    """A token of ours; a claim that is ``None`` is left out."""
    start = int(NOW.timestamp())
    claims = {"iss": ISSUER, "aud": CLIENT_ID, "tid": TENANT_ID, "oid": NOOR, "sub": "x", "nonce": "n", "iat": start,
              "nbf": start, "exp": start + 3600, "name": "Noor", "roles": ["Bridge.Admin"], **changes}  # fmt: skip
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, PRIVATE, algorithm="RS256", headers={"kid": "key"})


def check(text: str, key: Jwk = KEY, after: float = 0, nonce: str = "n") -> Claims:
    now = NOW + datetime.timedelta(seconds=after)
    return checked(text, key, AUTHORITY, client_id=CLIENT_ID.upper(), nonce=nonce, now=now)


# The checks, one by one


def test_a_genuine_token_tells_who_it_is() -> None:
    claims = check(token())
    assert (claims.account, claims.name, claims.roles) == (NOOR_ACCOUNT, "Noor", ["Bridge.Admin"])


def test_people_are_known_by_their_ids_whatever_the_spelling() -> None:
    assert check(token(oid=NOOR.upper(), tid=TENANT_ID.upper())).account == NOOR_ACCOUNT


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aud": OTHER}, "audience"),
        ({"aud": [CLIENT_ID]}, "audience"),
        ({"iss": ISSUER + "/"}, "issuer"),
        ({"iss": f"https://login.example/{OTHER}/v2.0"}, "issuer"),
        ({"nonce": "m"}, "another sign-in"),
        ({"nonce": 7}, "another sign-in"),
        ({"exp": "soon"}, "times"),
        ({"exp": True}, "times"),
        ({"nbf": [1]}, "times"),
        ({"oid": ""}, "no person"),
        ({"oid": 7}, "no person"),
        ({"oid": "x" * 65}, "no person"),
        ({"roles": "Bridge.Admin"}, "malformed"),
        ({"name": 7}, "malformed"),
    ],
    ids=str,
)
def test_a_claim_that_is_wrong_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidToken, match=words):
        check(token(**changes))


@pytest.mark.parametrize("name", ["iss", "aud", "exp", "nbf", "iat", "tid", "oid", "nonce"])
def test_a_claim_that_is_missing_is_refused(name: str) -> None:
    with pytest.raises(InvalidToken):
        check(token(**{name: None}))


def test_a_foreign_tenant_is_told_apart() -> None:
    with pytest.raises(ForeignTenant):
        check(token(tid=OTHER, iss=f"https://login.example/{OTHER}/v2.0"))


@pytest.mark.parametrize(
    ("after", "is_good"),
    [(-SKEW - 1, False), (-SKEW, True), (3600 + SKEW - 1, True), (3600 + SKEW, False)],
)
def test_clocks_may_differ_by_five_minutes(after: float, is_good: bool) -> None:
    if is_good:
        assert check(token(), after=after)
    else:
        with pytest.raises(InvalidToken):
            check(token(), after=after)


@pytest.mark.parametrize(
    ("issuer", "is_good"),
    [
        (ISSUER, True),
        ("https://login.example/{tenantid}/v2.0", True),
        ("", True),
        (f"https://login.example/{OTHER}/v2.0", False),
    ],
)
def test_a_key_signs_for_its_own_issuer_only(issuer: str, is_good: bool) -> None:
    key = Jwk(kid="key", kty="RSA", n=KEY.n, e=KEY.e, issuer=issuer)
    if is_good:
        assert check(token(), key)
    else:
        with pytest.raises(InvalidToken, match="another issuer"):
            check(token(), key)


def test_a_key_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidToken):
        check(token(), Jwk(kid="key", kty="RSA", n="", e="AQAB", issuer=ISSUER))


@given(st.text(), st.binary(max_size=40))
def test_no_text_is_a_token(text: str, tail: bytes) -> None:
    for made in (text, f"{token()[:-10]}{base64url(tail)}", f"{text}.{text}.{text}"):
        if made != token():
            with pytest.raises(InvalidToken):
                check(made)


@given(st.integers(0, 10_000), st.characters(codec="ascii"))
def test_a_changed_letter_breaks_the_signature(place: int, letter: str) -> None:
    genuine = token()
    place %= len(genuine) - 1  # the last letter of a signature has bits to spare
    if genuine[place] != letter:
        with pytest.raises(InvalidToken):
            check(genuine[:place] + letter + genuine[place + 1 :])


def test_a_refusal_quotes_nothing_of_the_token() -> None:
    with pytest.raises(InvalidToken) as caught:
        check(token(nonce="a-nonce-to-hide"))
    assert "a-nonce-to-hide" not in f"{caught.value}{caught.value.__cause__}"


# Through the real token endpoint


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("genuine", None),
        ("foreign_key", "invalid_token"),
        ("unknown_key", "invalid_token"),
        ("alg_none", "invalid_token"),
        ("alg_hs256", "invalid_token"),
        ("expired", "invalid_token"),
        ("not_yet_valid", "invalid_token"),
        ("other_tenant", "tenant_mismatch"),
        ("wrong_issuer", "invalid_token"),
        ("wrong_audience", "invalid_token"),
    ],
)
async def test_a_forged_token_signs_nobody_in(site: Site, kind: str, code: str | None) -> None:
    await site.assign(NOOR, "Bridge.Admin")
    outcome = await site.sign_in(NOOR, next_id_tokens=[{"kind": kind}])
    assert isinstance(outcome, Completed) == (code is None)
    assert isinstance(outcome, Completed) or outcome.code == code
    sessions = [row async for row in site.place.tables.query("sessions", site.connection, low="s-", high="s.")]
    assert len(sessions) == (code is None)


async def test_a_token_of_another_sign_in_signs_nobody_in(site: Site) -> None:
    await site.assign(NOOR, "Bridge.Admin")
    outcome = await site.sign_in(NOOR, next_id_tokens=[{"kind": "wrong_nonce"}])
    assert isinstance(outcome, Failed)
    assert "of-another-sign-in" not in repr(outcome)


async def test_roles_in_a_token_of_somebody_else_do_not_count(site: Site) -> None:
    forgery = {"kind": "foreign_key", "claims": {"roles": ["Bridge.Admin"]}}
    assert isinstance(await site.sign_in(NOOR, next_id_tokens=[forgery]), Failed)


async def test_a_foreign_account_cannot_be_connected(site: Site) -> None:
    begun = await site.begin("connect", (await site.first_session()).id)
    form = await site.answered(begun, NOOR, next_id_tokens=[{"kind": "other_tenant"}])
    outcome = await site.complete(begun, form)
    assert isinstance(outcome, Failed)
    assert outcome.code == "tenant_mismatch"


# Keys


def key_requests(site: Site) -> int:
    return sum(item.path.endswith("/discovery/v2.0/keys") for item in site.microsoft.requests)


async def test_keys_are_read_once_a_day(site: Site) -> None:
    await site.assign(NOOR, "Bridge.Admin")
    for _ in range(3):
        await site.signed_in()
    assert key_requests(site) == 1
    site.now += datetime.timedelta(hours=25)
    authority = await find_authority(site.place, (await site.place.settings.load()).settings.microsoft, site.now)
    assert await find_key(site.place, authority, site.microsoft.keys.current.kid, site.now)
    assert key_requests(site) == 2


async def test_a_new_key_is_found_by_reading_once_more(site: Site) -> None:
    await site.assign(NOOR, "Bridge.Admin")
    await site.signed_in()
    site.later(minutes=6)
    site.microsoft.keys.rotate()
    await site.signed_in()
    assert key_requests(site) == 2


async def test_unknown_keys_make_nobody_read_more_than_once_in_five_minutes(site: Site) -> None:
    await site.assign(NOOR, "Bridge.Admin")
    await site.signed_in()
    site.later(minutes=6)
    for _ in range(4):
        assert isinstance(await site.sign_in(NOOR, next_id_tokens=[{"kind": "unknown_key"}]), Failed)
    assert key_requests(site) == 2


async def test_a_token_that_is_too_long_is_not_even_looked_at(site: Site) -> None:
    authority = await find_authority(site.place, (await site.place.settings.load()).settings.microsoft, site.now)
    with pytest.raises(InvalidToken, match="too long"):
        await read_id_token(site.place, authority, "x" * 70_000, client_id=CLIENT_ID, nonce="n", now=site.now)
    assert key_requests(site) == 0
