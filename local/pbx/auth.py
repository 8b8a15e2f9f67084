"""The endpoints get_token, refresh_token and del_token."""

from local.pbx.answers import Errcode, Payload, Refused
from local.pbx.endpoints import Call, Endpoint, Reads
from local.pbx.machine import Machine
from local.pbx.tokens import ACCESS_SECONDS, REFRESH_SECONDS, Issue, Outcome, RequestKind, Token, TokenLimit
from local.pbx.validation import Members, Text


def get_token(machine: Machine, call: Call) -> Payload:
    """A further pair; eight live access tokens are the most (60002), five wrong credentials block the caller."""
    now = machine.clock.time()
    if not machine.application.accepts(call.body["username"], call.body["password"]):
        machine.blocked.failed(call.caller, now, machine.firmware.block_seconds)
        _note(machine, call, "get_token", "wrong_credentials")
        raise Refused(machine.firmware.wrong_credentials_errcode, errmsg="FAILURE")
    machine.blocked.succeeded(call.caller)
    try:
        pair = machine.tokens.issue(now)
    except TokenLimit:
        _note(machine, call, "get_token", "limit")
        raise Refused(Errcode.LIMIT) from None
    _note(machine, call, "get_token", "issued")
    return _payload(pair)


def refresh_token(machine: Machine, call: Call) -> Payload:
    """A new pair in place of the old one, whose access token may have expired already."""
    now = machine.clock.time()
    try:
        pair = machine.tokens.renew(call.body["refresh_token"], now)
    except TokenLimit:
        _note(machine, call, "refresh_token", "limit")
        raise Refused(Errcode.LIMIT) from None
    if pair is None:
        _note(machine, call, "refresh_token", "unknown_token")
        raise Refused(Errcode.TOKEN_EXPIRED)
    _note(machine, call, "refresh_token", "issued")
    return _payload(pair)


def del_token(machine: Machine, call: Call) -> Payload:
    """The pair is dead at once and its slot free."""
    machine.tokens.revoke(call.token)
    _note(machine, call, "del_token", "revoked")
    return {}


def _payload(pair: Token) -> Payload:
    return {
        "access_token": pair.access,
        "access_token_expire_time": ACCESS_SECONDS,
        "refresh_token": pair.refresh,
        "refresh_token_expire_time": REFRESH_SECONDS,
    }


def _note(machine: Machine, call: Call, kind: RequestKind, outcome: Outcome) -> None:
    now = machine.clock.time()
    machine.tokens.note(Issue(now, kind, outcome, call.caller, machine.tokens.live(now)))


SKELETON = {"access_token": "", "access_token_expire_time": 0, "refresh_token": "", "refresh_token_expire_time": 0}
ENDPOINTS = [
    Endpoint(
        "POST",
        "/get_token",
        Reads(get_token),
        body=Members({"username": Text(), "password": Text(secret=True)}, frozenset({"username", "password"})),
        needs_token=False,
        skeleton=SKELETON,
    ),
    Endpoint(
        "POST",
        "/refresh_token",
        Reads(refresh_token),
        body=Members({"refresh_token": Text(secret=True)}, frozenset({"refresh_token"})),
        needs_token=False,
        skeleton=SKELETON,
    ),
    Endpoint("GET", "/del_token", Reads(del_token)),
]
