"""Which properties a user and a group have, of which type, and which come without ``$select``.

After the "user resource type" and "group resource type" pages of the Microsoft Graph v1.0 reference.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any


class Shape(Enum):
    TEXT = "a string or null"
    FLAG = "true, false or null"
    TEXTS = "an array of strings"
    OBJECT = "an object or null"
    OBJECTS = "an array of objects"


_USER_TEXTS = """
    aboutMe ageGroup birthday city companyName consentProvidedForMinor country createdDateTime creationType
    deletedDateTime department displayName employeeHireDate employeeId employeeType externalUserState
    externalUserStateChangeDateTime faxNumber givenName id jobTitle lastPasswordChangeDateTime
    legalAgeGroupClassification mail mailNickname mobilePhone officeLocation onPremisesDistinguishedName
    onPremisesDomainName onPremisesImmutableId onPremisesLastSyncDateTime onPremisesSamAccountName
    onPremisesSecurityIdentifier onPremisesUserPrincipalName passwordPolicies postalCode preferredDataLocation
    preferredLanguage securityIdentifier signInSessionsValidFromDateTime state streetAddress surname usageLocation
    userPrincipalName userType
"""
USER: Mapping[str, Shape] = {
    **dict.fromkeys(_USER_TEXTS.split(), Shape.TEXT),
    **dict.fromkeys(["accountEnabled", "onPremisesSyncEnabled", "showInAddressList"], Shape.FLAG),
    **dict.fromkeys(["businessPhones", "imAddresses", "otherMails", "proxyAddresses"], Shape.TEXTS),
    **dict.fromkeys(["onPremisesExtensionAttributes", "employeeOrgData"], Shape.OBJECT),
    **dict.fromkeys(["assignedLicenses", "assignedPlans", "identities"], Shape.OBJECTS),
}
_GROUP_TEXTS = """
    classification createdDateTime deletedDateTime description displayName expirationDateTime id mail mailNickname
    membershipRule membershipRuleProcessingState onPremisesDomainName onPremisesLastSyncDateTime onPremisesNetBiosName
    onPremisesSamAccountName onPremisesSecurityIdentifier preferredDataLocation preferredLanguage renewedDateTime
    securityIdentifier theme visibility
"""
GROUP: Mapping[str, Shape] = {
    **dict.fromkeys(_GROUP_TEXTS.split(), Shape.TEXT),
    **dict.fromkeys(["isAssignableToRole", "mailEnabled", "onPremisesSyncEnabled", "securityEnabled"], Shape.FLAG),
    **dict.fromkeys(
        ["groupTypes", "proxyAddresses", "resourceBehaviorOptions", "resourceProvisioningOptions"], Shape.TEXTS
    ),
}
OTHER: Mapping[str, Shape] = {
    **dict.fromkeys(["id", "displayName", "deviceId", "mail", "appId", "deletedDateTime"], Shape.TEXT),
    **dict.fromkeys(["accountEnabled"], Shape.FLAG),
}
"""Devices, organisational contacts and service principals: only what a member listing shows of them."""

SCHEMA: Mapping[str, Mapping[str, Shape]] = {
    "user": USER,
    "group": GROUP,
    "device": OTHER,
    "orgContact": OTHER,
    "servicePrincipal": OTHER,
}

USER_DEFAULT = (
    "businessPhones",
    "displayName",
    "givenName",
    "id",
    "jobTitle",
    "mail",
    "mobilePhone",
    "officeLocation",
    "preferredLanguage",
    "surname",
    "userPrincipalName",
)
DEFAULT: Mapping[str, tuple[str, ...]] = {
    "user": USER_DEFAULT,
    "group": tuple(sorted(GROUP)),
    "device": ("id", "displayName", "deviceId", "accountEnabled"),
    "orgContact": ("id", "displayName", "mail"),
    "servicePrincipal": ("id", "displayName", "appId"),
}
BASIC_USER = frozenset({"displayName", "givenName", "id", "mail", "surname", "userPrincipalName", "securityIdentifier"})
"""What ``User.ReadBasic.All`` may read ("Microsoft Graph permissions reference")."""

EXTENSION_ATTRIBUTES = frozenset(f"extensionAttribute{number}" for number in range(1, 16))


def check(kind: str, properties: Mapping[str, Any]) -> None:
    """``ValueError`` in plain words when a property is unknown or has a value of the wrong type."""
    schema = SCHEMA[kind]
    for name, value in properties.items():
        if name not in schema:
            raise ValueError(f"a {kind} has no property {name!r}")
        if not _fits(schema[name], value):
            raise ValueError(f"{name} has to be {schema[name].value}, not {value!r}")
    if len(properties.get("businessPhones", ())) > 1:
        raise ValueError("businessPhones of a directory user holds at most one number")
    attributes = properties.get("onPremisesExtensionAttributes") or {}
    if unknown := set(attributes) - EXTENSION_ATTRIBUTES:
        raise ValueError(f"onPremisesExtensionAttributes has no {sorted(unknown)[0]!r}")


def _fits(shape: Shape, value: Any) -> bool:
    match shape:
        case Shape.TEXT:
            return value is None or isinstance(value, str)
        case Shape.FLAG:
            return value is None or isinstance(value, bool)
        case Shape.TEXTS:
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        case Shape.OBJECT:
            return value is None or isinstance(value, dict)
        case Shape.OBJECTS:
            return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def unset(kind: str, name: str) -> Any:
    """What a list or get shows for a property that was never set."""
    return [] if SCHEMA[kind][name] in (Shape.TEXTS, Shape.OBJECTS) else None
