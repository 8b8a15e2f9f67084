"""What the PBX can answer besides data, named by what the caller has to do.

::

    PbxError
    ├── Retry                    try again later; nothing is wrong with the request
    │   ├── Unreachable          no connection, nothing was sent
    │   ├── OutcomeUnknown       sent, but the answer never came: read again before writing again
    │   ├── Busy                 the PBX runs a heavy task (70082)
    │   ├── ServerFault          502 of the tunnel, broken answer, internal error
    │   └── TokensExhausted      8 API tokens are live already
    ├── ItemError                this object fails, the next may work
    │   ├── Conflict             a value is taken already (40003)
    │   ├── Refused              the PBX does not take a value or forbids the action
    │   ├── NotFound             the object is gone
    │   └── StillReferenced      another object uses it (70091)
    ├── LimitReached             no room for more of these (60002)
    ├── FeatureMissing           this firmware, plan or configuration does not offer it
    └── Stop                     an administrator is needed; asking again would make it worse
        ├── CredentialsRejected  wrong client id or secret
        ├── Blocked              the PBX blocks or does not permit our address
        ├── ApiDisabled          the Open API is off or not licensed
        └── Untrusted            its certificate cannot be verified

The HTTP library's errors never leave this room, and no text here ever holds a token: its URL would.
"""


class PbxError(Exception):
    """Base of everything this gateway raises. ``errcode`` is the PBX's own number, where it gave one."""

    code = "pbx_error"
    """For machines; stable."""
    action = ""
    """What an administrator can do about it."""

    def __init__(self, message: str, errcode: int | None = None) -> None:
        super().__init__(message)
        self.errcode = errcode


class Retry(PbxError):
    """Try again later."""

    code = "pbx_unavailable"
    action = "The bridge tries again by itself. If it lasts, check that the PBX is up and reachable by its FQDN."


class Unreachable(Retry):
    """No connection could be made; nothing was sent."""

    code = "pbx_unreachable"


class OutcomeUnknown(Retry):
    """The request was sent and no answer came: it may or may not have been carried out."""

    code = "pbx_no_answer"


class Busy(Retry):
    """The PBX is running a backup, an import or the like."""

    code = "pbx_busy"
    action = "The PBX is running a heavy task such as a backup. The bridge tries again by itself."


class ServerFault(Retry):
    """The PBX or the tunnel before it failed, or the answer was cut off."""

    code = "pbx_fault"


class TokensExhausted(Retry):
    """8 API tokens are live already; one of them ends within 30 minutes."""

    code = "pbx_tokens_exhausted"
    action = "Another program uses the same API client of the PBX. Give each its own, or revoke its tokens there."


class ItemError(PbxError):
    """This object fails, the next may work."""

    code = "pbx_refused"


class Conflict(ItemError):
    """A number, registration name or e-mail address is taken already."""

    code = "pbx_conflict"


class Refused(ItemError):
    """The PBX does not take a value, or forbids the action on this object."""


class NotFound(ItemError):
    """The object does not exist (any more)."""

    code = "pbx_not_found"


class StillReferenced(ItemError):
    """Another object of the PBX uses this one."""

    code = "pbx_referenced"


class LimitReached(PbxError):
    """The PBX has no room for more extensions or groups."""

    code = "pbx_limit"
    action = "Make room on the PBX: extend its licence or delete extensions. Of extension groups it takes 63 at most."


class FeatureMissing(PbxError):
    """The firmware, the plan or the configuration of the PBX does not offer this."""

    code = "pbx_feature_missing"
    action = "Update the PBX's firmware, or switch the feature on there."


class Stop(PbxError):
    """An administrator is needed."""

    code = "pbx_stopped"


class CredentialsRejected(Stop):
    """The PBX does not accept the client id and secret. Five failures block our address, so none is repeated."""

    code = "pbx_credentials_rejected"
    action = (
        "Open Integrations > API on the PBX, compare the Client ID and store the Client Secret again. "
        "The bridge does not try again before one of them changes."
    )


class Blocked(Stop):
    """The PBX blocks our address (70004), or it is not on the permitted list (70087)."""

    code = "pbx_address_blocked"
    action = (
        "On the PBX, remove the bridge's address under Security > Security Rules > Blocked IPs, and add it to the "
        "permitted addresses of Integrations > API if those are restricted."
    )


class ApiDisabled(Stop):
    """The Open API is switched off, not licensed, or not offered by this model."""

    code = "pbx_api_disabled"
    action = "Switch the API on under Integrations > API. It needs the Enterprise or Ultimate plan; a P520 has none."


class Untrusted(Stop):
    """The certificate of the PBX cannot be verified."""

    code = "pbx_certificate"
    action = (
        "Give the PBX a certificate of a public authority, or paste the certificate of its own authority into "
        "pbx.ca_certificate. The name has to match the FQDN."
    )


BY_ERRCODE: dict[int, tuple[type[PbxError], str]] = {
    -2: (ServerFault, "the PBX reports an internal error or a body it could not read"),
    -1: (Refused, "the PBX reports a failure without a reason"),
    2: (OutcomeUnknown, "the PBX is still working on it"),
    1: (OutcomeUnknown, "the PBX reports a partial success"),
    10001: (FeatureMissing, "this firmware does not have the interface"),
    10002: (FeatureMissing, "this version of the API is out of maintenance"),
    10003: (FeatureMissing, "this version of the API is not supported"),
    10005: (FeatureMissing, "the API application has no permission for this"),
    10009: (FeatureMissing, "the feature is off, or the permission for it is missing"),
    40001: (Refused, "the PBX does not accept a parameter"),
    40002: (Refused, "the PBX does not accept a value"),
    40003: (Conflict, "the value is in use already"),
    60001: (NotFound, "there is no such object on the PBX"),
    60002: (LimitReached, "the limit of the PBX is reached"),
    60101: (Refused, "the user role does not exist on the PBX"),
    70004: (Blocked, "the PBX blocks our address after failed sign-ins"),
    70082: (Busy, "the PBX is running a heavy task"),
    70084: (Refused, "the PBX forbids the action, as for objects owned by its built-in synchronization"),
    70087: (Blocked, "our address is not on the PBX's permitted list"),
    70091: (StillReferenced, "the object is in use by another one"),
    70120: (FeatureMissing, "organization management is off"),
    70123: (ApiDisabled, "the Open API is switched off or not licensed"),
}
"""The vendor's error table, as far as we react to it
(https://help.yeastar.com/en/p-series-software-edition/developer-guide/error-code-and-error-message.html)."""


def from_errcode(errcode: int, errmsg: str, invalid: str = "") -> PbxError:
    """The typed error of an answer; an unknown number fails the item, and its text is kept."""
    kind, words = BY_ERRCODE.get(errcode, (Refused, "the PBX refuses the request"))
    detail = f" ({errmsg.strip()[:200]})" if errmsg.strip() and errmsg != "SUCCESS" else ""
    return kind(f"{words}{f': {invalid}' if invalid else ''}{detail} [errcode {errcode}]", errcode)
