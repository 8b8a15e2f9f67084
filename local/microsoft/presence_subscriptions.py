"""What a subscription on presences may look like.

After "Get change notifications for presence updates using Microsoft Graph" and "subscription resource type".
"""

import datetime
import re

from local.microsoft.directory import Directory
from local.microsoft.errors import GraphError, bad_request, not_found
from local.microsoft.presence_sealing import read_certificate
from local.microsoft.subscriptions import Target

KIND = "presence"
LONGEST_LIFE = datetime.timedelta(minutes=60)
MOST_USERS = 650
LONGEST_CERTIFICATE_ID = 128
GUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

_PATH = re.compile(r"/?communications/presences(?![^/?])(.*)", re.IGNORECASE)
_ONE = re.compile(f"/({GUID})")
_SEVERAL = re.compile(rf"\?\$filter=id in \('{GUID}'(?:, ?'{GUID}')*\)")
ALREADY = (
    "Operation: Create; Exception: [Status Code: Conflict; Reason: A subscripton already exists. It must be deleted "
    "before a another can be made.]"
)
"""With the service's own spelling."""


def read_resource(resource: str, directory: Directory, *, refuse_unknown: bool) -> Target | None:
    """Whom it is about; ``None`` for another kind of resource.

    ``GraphError`` 400 for anything but one object id or ``?$filter=id in ('id','id')``, 403 for more than 650 users,
    404 for a user who does not exist when those are refused.
    """
    match = _PATH.fullmatch(resource)
    if match is None:
        return None
    ids = tuple(dict.fromkeys(identifier.lower() for identifier in _ids(match[1], resource)))
    if len(ids) > MOST_USERS:
        raise GraphError(403, "Forbidden", f"A presence subscription can name at most {MOST_USERS} distinct users.")
    unknown = (identifier for identifier in ids if directory.find("user", identifier) is None)
    if refuse_unknown and (first := next(unknown, None)) is not None:
        raise not_found(first)
    return Target(KIND, ids=ids)


def check_resource_data(*, included: bool | None, certificate: str | None, certificate_id: str | None) -> None:
    """``GraphError`` unless resource data comes with a certificate and its id, and these with resource data only."""
    if not included:
        if certificate is not None or certificate_id is not None:
            raise _refused("encryptionCertificate and encryptionCertificateId need includeResourceData to be true.")
        return
    if not certificate or not certificate_id:
        raise _refused("includeResourceData needs encryptionCertificate and encryptionCertificateId.")
    if len(certificate_id) > LONGEST_CERTIFICATE_ID:
        raise _refused(f"encryptionCertificateId can have at most {LONGEST_CERTIFICATE_ID} characters.")
    try:
        read_certificate(certificate)
    except ValueError as error:
        raise _refused(f"encryptionCertificate {error}.") from None


def check_change_type(words: list[str]) -> None:
    if words != ["updated"]:
        raise _refused("Presences support the changeType 'updated' only.")


def conflict() -> GraphError:
    """An app has one subscription on presences for each signed-in user."""
    return GraphError(409, "ExtensionError", ALREADY)


def _ids(rest: str, resource: str) -> list[str]:
    if one := _ONE.fullmatch(rest):
        return [one[1]]
    if not _SEVERAL.fullmatch(rest):
        raise _refused(
            f"The resource '{resource[:200]}' is not supported: presences are watched as "
            "communications/presences/{id} or communications/presences?$filter=id in ('{id}','{id}'), with the object "
            "ids of users."
        )
    return re.findall(GUID, rest)


def _refused(message: str) -> GraphError:
    return bad_request(message, "InvalidRequest")
