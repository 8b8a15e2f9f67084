"""The settings document: what an administrator decides, as plain immutable data.

One definition serves four uses: decoding what is stored, checking what is sent (its JSON schema), the API description
and the rules the engine reads.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
PresenceChoice = Literal["available", "away", "business_trip", "do_not_disturb", "lunch", "off_work", "leave"]


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the document."""


class Microsoft(Section, frozen=True):
    """The tenant that is the source."""

    tenant_id: str = ""
    """Directory (tenant) id, or one of its verified domains."""
    client_id: str = ""
    """Application (client) id of the app registration."""
    credential: Literal["secret", "certificate", "federated"] = "secret"
    """How the application proves itself: a client secret or a certificate from the Key Vault, or the managed identity
    of this deployment as federated credential, which needs no secret at all."""


class Pbx(Section, frozen=True):
    """The PBX that is the target."""

    fqdn: str = ""
    """Its public name, with a port where it is not 443: ``pbx.example.com`` or ``pbx.example.com:8088``."""
    client_id: str = ""
    """Client ID of Integrations > API on the PBX."""
    ca_certificate: str | None = None
    """PEM of the authority (or the certificate of the appliance itself) when no public authority vouches for it."""
    max_writes_per_second: Annotated[float, Meta(ge=0.5, le=1000)] = 4
    """The PBX shares its processor with call handling, so writes are paced; 4 a second is gentle to the smallest."""


class Schedule(Section, frozen=True):
    """When a full run starts by itself, and when a batch of changes is synced."""

    kind: Literal["daily", "weekly"] = "daily"
    days: list[Day] = []
    """Weekly only: the days."""
    at: str = "00:30"
    """24-hour clock in ``time_zone``."""
    time_zone: str = "UTC"
    """A name of the IANA time zone database, such as ``Europe/Amsterdam``."""
    change_delay_minutes: Annotated[int, Meta(ge=0, le=1440)] = 10
    """Minutes from the first change event of a batch until it is synced."""
    change_count: Annotated[int, Meta(ge=1, le=10_000)] = 10
    """Change events at which a batch is synced at once."""
    poll_minutes: Annotated[int, Meta(ge=5, le=1440)] = 60
    """An incremental run starts at least so often, in case notifications were lost."""


class UserScope(Section, frozen=True):
    """Which users are synced."""

    kind: Literal["all", "types", "groups"] = "all"
    user_types: list[Literal["Member", "Guest"]] = []
    group_ids: list[str] = []
    """Object ids; members of nested groups are included."""


class Numbering(Section, frozen=True):
    """How a new extension gets its number."""

    kind: Literal["sequential", "property"] = "sequential"
    start: Annotated[int, Meta(ge=1, le=9_999_999)] = 1000
    """Sequential: the first number; the first free one from here upward is taken."""
    property: str | None = None
    """Property: the user property whose digits are the number."""


class Users(Section, frozen=True):
    """The rules for users."""

    enabled: bool = False
    scope: UserScope = UserScope()
    number: Numbering = Numbering()
    delete_when: list[Literal["disabled", "deleted"]] = field(default_factory=lambda: ["disabled", "deleted"])
    """The account states at which the extension is deleted."""
    delete_out_of_scope: bool = False
    """Delete the extension of a user who leaves the scope; otherwise the PBX manages it from then on."""
    delete_grace_days: Annotated[int, Meta(ge=0, le=365)] = 0
    """Days that an extension stays, marked, before it is deleted; who returns within them gets it back."""
    associate_by_email: bool = False
    """Take over an existing extension with the user's e-mail address instead of skipping the user."""
    send_welcome_email: bool = False


class GroupScope(Section, frozen=True):
    """Which groups are synced."""

    kind: Literal["all", "types", "groups"] = "all"
    group_types: list[Literal["security", "microsoft365"]] = []
    group_ids: list[str] = []


class Groups(Section, frozen=True):
    """The rules for groups."""

    enabled: bool = False
    scope: GroupScope = GroupScope()
    delete_out_of_scope: bool = False
    """Delete the extension group of a group that leaves the scope; otherwise the PBX manages it from then on."""
    associate_by_name: bool = False
    """Take over an existing extension group with the group's name instead of skipping the group."""


class Guard(Section, frozen=True):
    """When deletions wait for an administrator: more than either number in one run."""

    max_deletions: Annotated[int, Meta(ge=0, le=1_000_000)] = 20
    max_deletion_percent: Annotated[float, Meta(ge=0, le=100)] = 20
    """Per cent of the linked extensions."""


class Console(Section, frozen=True):
    """Who gets into the administrator's pages besides those who have a role in Entra."""

    setup_key: bool = True
    """The setup key of the deployment still signs in once an authorization account is connected: the way back in when
    nobody can sign in with Microsoft. While no account is connected it always does."""


class PresenceMap(Section, frozen=True, rename="pascal"):
    """What an extension shows for what Teams shows; ``leave`` changes nothing. The names are those of both of Graph's
    lists, old and new, of availabilities and activities (https://learn.microsoft.com/graph/api/resources/presence).

    A status also switches the forwarding and ringing that belongs to it, and do_not_disturb stops calls: so it stands
    only for what says so in Teams. Who closes Teams still has a phone, so Offline changes nothing.
    """

    available: PresenceChoice = "available"
    available_idle: PresenceChoice = "available"
    away: PresenceChoice = "away"
    be_right_back: PresenceChoice = "away"
    busy: PresenceChoice = "away"
    busy_idle: PresenceChoice = "away"
    do_not_disturb: PresenceChoice = "do_not_disturb"
    focusing: PresenceChoice = "away"
    in_a_call: PresenceChoice = "away"
    in_a_conference_call: PresenceChoice = "away"
    in_a_meeting: PresenceChoice = "away"
    inactive: PresenceChoice = "away"
    off_work: PresenceChoice = "leave"
    offline: PresenceChoice = "leave"
    out_of_office: PresenceChoice = "off_work"
    presence_unknown: PresenceChoice = "leave"
    presenting: PresenceChoice = "do_not_disturb"
    urgent_interruptions_only: PresenceChoice = "do_not_disturb"


class Presence(Section, frozen=True):
    """Whose extensions follow their presence in Teams, and how."""

    enabled: bool = False
    users: Literal["all", "groups", "opt_in"] = "all"
    """Of those with a synced extension: all, the members of ``group_ids``, or who asked for it. Anybody may decline."""
    group_ids: list[str] = []
    """Object ids; members of nested groups are included."""
    default_map: PresenceMap = PresenceMap()
    poll_seconds: Annotated[int, Meta(ge=10, le=3600)] = 30
    """So often Graph is asked about users whose changes it does not announce."""
    respect_manual: bool = True
    """A status that somebody chose on the phone stays until Teams asks for another one than it asked for then."""


class Settings(Section, frozen=True):
    """The whole document."""

    microsoft: Microsoft = Microsoft()
    pbx: Pbx = Pbx()
    schedule: Schedule = Schedule()
    users: Users = Users()
    groups: Groups = Groups()
    guard: Guard = Guard()
    console: Console = Console()
    presence: Presence = Presence()

    def missing(self) -> list[str]:
        """JSON pointers of the members without which nothing can be synced."""
        values = {
            "/microsoft/tenant_id": self.microsoft.tenant_id,
            "/microsoft/client_id": self.microsoft.client_id,
            "/pbx/fqdn": self.pbx.fqdn,
            "/pbx/client_id": self.pbx.client_id,
        }
        return [path for path, value in values.items() if not value]
