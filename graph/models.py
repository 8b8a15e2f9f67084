"""Graph's answers, as far as the bridge reads them. Unknown members are skipped while decoding."""

import msgspec


class Removed(msgspec.Struct, frozen=True):
    """Why an object left the directory's view."""

    reason: str = "changed"
    """``changed``: soft-deleted and restorable for 30 days; ``deleted``: gone for good."""


class User(msgspec.Struct, frozen=True, rename="camel"):
    """A user. Graph leaves out what was never set and sends ``null`` for what was cleared: both are ``None`` here."""

    id: str
    user_principal_name: str | None = None
    display_name: str | None = None
    given_name: str | None = None
    surname: str | None = None
    mail: str | None = None
    mobile_phone: str | None = None
    job_title: str | None = None
    account_enabled: bool | None = None
    user_type: str | None = None
    business_phones: list[str] | None = None
    fax_number: str | None = None
    employee_id: str | None = None
    office_location: str | None = None
    department: str | None = None
    postal_code: str | None = None
    mail_nickname: str | None = None
    on_premises_sam_account_name: str | None = None
    on_premises_extension_attributes: dict[str, str | None] | None = None
    removed: Removed | None = msgspec.field(default=None, name="@removed")


class UserPage(msgspec.Struct, frozen=True):
    """A page of ``users/delta``. Exactly one of the links is there; a page may be empty and still have a next one."""

    value: list[User]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")
    delta_link: str | None = msgspec.field(default=None, name="@odata.deltaLink")


class Member(msgspec.Struct, frozen=True):
    """A direct member of a group, or one that was removed from it."""

    id: str
    odata_type: str = msgspec.field(default="", name="@odata.type")
    """``#microsoft.graph.user``, ``.group``, ``.device``, ...; its casing varies."""
    removed: Removed | None = msgspec.field(default=None, name="@removed")


class Group(msgspec.Struct, frozen=True, rename="camel"):
    """A group, or one slice of it: a delta round gives a large group several times, each with other members."""

    id: str
    display_name: str | None = None
    group_types: list[str] | None = None
    """Contains ``Unified`` for a Microsoft 365 group."""
    mail_enabled: bool | None = None
    security_enabled: bool | None = None
    removed: Removed | None = msgspec.field(default=None, name="@removed")
    members: list[Member] = msgspec.field(default_factory=list, name="members@delta")
    """Direct members that came or went; all of them in a first round. Nested groups are members themselves."""


class GroupPage(msgspec.Struct, frozen=True):
    """A page of ``groups/delta``, with the same links as a page of users."""

    value: list[Group]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")
    delta_link: str | None = msgspec.field(default=None, name="@odata.deltaLink")


class Subscription(msgspec.Struct, frozen=True, rename="camel"):
    """A subscription as Graph shows it. The client state comes back in the answer to its creation only."""

    id: str
    application_id: str | None = None
    creator_id: str | None = None
    """Object id of the person in whose name it was made, or of the application's service principal."""
    resource: str = ""
    change_type: str = ""
    notification_url: str = ""
    lifecycle_notification_url: str | None = None
    expiration_date_time: str = ""
    client_state: str | None = None

    def __repr__(self) -> str:
        return f"Subscription(id={self.id!r}, resource={self.resource!r}, expires={self.expiration_date_time!r})"

    __str__ = __repr__


class SubscriptionPage(msgspec.Struct, frozen=True):
    value: list[Subscription]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")


class MemberPage(msgspec.Struct, frozen=True):
    value: list[Member]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")


class FoundGroup(msgspec.Struct, frozen=True, rename="camel"):
    """A group as a search shows it."""

    id: str
    display_name: str | None = None
    mail: str | None = None
    group_types: list[str] | None = None
    mail_enabled: bool | None = None
    security_enabled: bool | None = None


class FoundGroups(msgspec.Struct, frozen=True):
    value: list[FoundGroup]


class FoundUser(msgspec.Struct, frozen=True, rename="camel"):
    """A user as a search shows it."""

    id: str
    display_name: str | None = None
    user_principal_name: str | None = None
    mail: str | None = None


class FoundUsers(msgspec.Struct, frozen=True):
    value: list[FoundUser]


class Organization(msgspec.Struct, frozen=True, rename="camel"):
    """The tenant itself."""

    id: str
    display_name: str | None = None


class Organizations(msgspec.Struct, frozen=True):
    value: list[Organization]


class ErrorDetail(msgspec.Struct, frozen=True):
    """What Graph says about a failure."""

    code: str = ""
    message: str = ""


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The body of a failure."""

    error: ErrorDetail = ErrorDetail()


class KeyCredential(msgspec.Struct, frozen=True, rename="camel"):
    """One secret or certificate of an app registration, without its value."""

    key_id: str | None = None
    hint: str | None = None
    """First three characters of a secret: tells which one is in use."""
    end_date_time: str | None = None
    custom_key_identifier: str | None = None


class AppRegistration(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    app_id: str
    password_credentials: list[KeyCredential] = []
    key_credentials: list[KeyCredential] = []


BASE_SELECT = (
    "id", "userPrincipalName", "displayName", "givenName", "surname", "mail", "mobilePhone", "jobTitle",
    "accountEnabled", "userType",
)  # fmt: skip
"""What every sync needs. Delta tracks only what is selected, so the set is part of a cursor."""


def selected(number_property: str | None) -> tuple[str, ...]:
    """The properties to select when extension numbers come from ``number_property``."""
    extra = (number_property or "").split(".", 1)[0]
    return BASE_SELECT if not extra or extra in BASE_SELECT else (*BASE_SELECT, extra)


GROUP_SELECT = ("id", "displayName", "groupTypes", "mailEnabled", "securityEnabled", "members")
"""What the group sync needs. ``members`` brings ``members@delta``; a single group is read without it."""
FOUND_GROUP_SELECT = ("id", "displayName", "mail", "groupTypes", "mailEnabled", "securityEnabled")
FOUND_USER_SELECT = ("id", "displayName", "userPrincipalName", "mail")
