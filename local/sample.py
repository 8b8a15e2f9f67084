"""The sample company: a tenant as awkward as real ones, and the extensions its PBX had before.

Plain data, tied to no emulator. Every person, number and domain is invented; nothing depends on time or chance:
``generate_tenant`` draws from a seed.
"""

import random
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

TENANT_ID = "11111111-1111-4111-8111-111111111111"
CLIENT_ID = "22222222-2222-4222-8222-222222222222"
CLIENT_SECRET = "Smp~sample-secret-of-the-local-cloud-only"
EXPIRED_CLIENT_SECRET = "Old~sample-secret-that-expired-in-2025"
APP_OBJECT_ID = "22222222-0001-4222-8222-222222222222"
SERVICE_PRINCIPAL_ID = "22222222-0002-4222-8222-222222222222"
IDENTITY_CLIENT_ID = "44444444-4444-4444-8444-444444444444"
IDENTITY_PRINCIPAL_ID = "44444444-0001-4444-8444-444444444444"
IDENTITY_HEADER = "sample-identity-header"
DOMAIN = "contoso.example"
INITIAL_DOMAIN = "contoso.onmicrosoft.example"
ROLES = (
    "Application.Read.All",
    "Contacts.Read",
    "Group.Read.All",
    "GroupMember.Read.All",
    "Organization.Read.All",
    "Presence.Read.All",
    "User.Read.All",
)
REDIRECT_URIS = ("http://localhost/connect/callback", "http://localhost/sso/callback")
"""Of a loopback address any port will do."""
DELEGATED = (
    "openid",
    "profile",
    "email",
    "offline_access",
    "User.Read",
    "Contacts.Read.Shared",
    "Presence.Read.All",
)
APP_ROLES = (
    ("66666666-0001-4666-8666-666666666666", "Bridge.Admin", "Bridge administrator"),
    ("66666666-0002-4666-8666-666666666666", "Bridge.Reader", "Bridge reader"),
)
"""Id, value and display name of the roles that the sample app defines."""

type Text = str | UnsetType | None
"""``UNSET`` was never set, ``None`` was cleared: delta queries tell the two apart."""


class User(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A user with its properties as Microsoft Graph names them."""

    id: str
    display_name: str
    user_principal_name: str
    account_enabled: bool = True
    user_type: str | None = "Member"
    given_name: Text = UNSET
    surname: Text = UNSET
    mail: Text = UNSET
    mobile_phone: Text = UNSET
    business_phones: tuple[str, ...] | UnsetType = UNSET
    job_title: Text = UNSET
    department: Text = UNSET
    company_name: Text = UNSET
    office_location: Text = UNSET
    employee_id: Text = UNSET
    fax_number: Text = UNSET
    usage_location: Text = UNSET
    preferred_language: Text = UNSET
    mail_nickname: Text = UNSET
    other_mails: tuple[str, ...] | UnsetType = UNSET
    proxy_addresses: tuple[str, ...] | UnsetType = UNSET
    on_premises_extension_attributes: dict[str, str] | UnsetType = UNSET
    on_premises_sync_enabled: bool | UnsetType = UNSET
    created_date_time: str = "2024-05-14T08:00:00Z"


class Group(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A group with its properties as Microsoft Graph names them."""

    id: str
    display_name: str
    mail_enabled: bool
    security_enabled: bool
    group_types: tuple[str, ...] = ()
    mail: Text = UNSET
    mail_nickname: Text = UNSET
    description: Text = UNSET
    membership_rule: Text = UNSET
    visibility: Text = UNSET
    created_date_time: str = "2024-05-14T08:00:00Z"


class Device(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An object other than a user or group that can be a member."""

    id: str
    kind: str
    display_name: str


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """``members`` and ``owners`` map the id of a group to ids in the order they joined."""

    id: str = TENANT_ID
    display_name: str = "Contoso Example"
    domains: tuple[str, ...] = (DOMAIN, INITIAL_DOMAIN)
    users: tuple[User, ...] = ()
    groups: tuple[Group, ...] = ()
    devices: tuple[Device, ...] = ()
    members: dict[str, tuple[str, ...]] = {}
    owners: dict[str, tuple[str, ...]] = {}
    deleted: frozenset[str] = frozenset()
    """Ids of users and groups that are deleted but can be restored."""


def user_id(number: int) -> str:
    return f"aaaa{number % 65536:04x}-0000-4000-8000-{number:012x}"


def group_id(number: int) -> str:
    return f"bbbb{number % 65536:04x}-0000-4000-8000-{number:012x}"


def device_id(number: int) -> str:
    return f"dddd{number % 65536:04x}-0000-4000-8000-{number:012x}"


def properties(item: User | Group) -> dict[str, Any]:
    """The properties that were ever set, as JSON has them."""
    built: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(item))
    return built


ADMINISTRATORS = (user_id(23),)
"""Who may consent for the whole organization: a Global Administrator."""
APP_ROLE_ASSIGNMENTS = (
    (user_id(23), "Bridge.Admin"),
    (user_id(27), "Bridge.Reader"),
    (group_id(11), "Bridge.Reader"),
)
"""Who has which role of the sample app; members of a group have it through the group."""


# The awkward people, each with what makes them so

_LONG_TITLE = "Senior Regional Coordinator for Logistics, Procurement and Quality Assurance, Northern Europe"
_VERY_LONG_TITLE = (
    "Deputy Head of the Cross-Border Working Group on Harmonised Documentation of Cold-Chain Transport, Customs "
    "Clearance and Last-Mile Delivery in the Benelux, the Nordics and the Baltic States"
)
_LONG_GIVEN = "Maria-Magdalena-Alexandra-Wilhelmina-Katharina-Theodora-Josefina"
_LONG_SURNAME = "van-der-Oudekerk-tot-Nieuwenhuizen-van-Sint-Annaparochie-de-Jong"


def _named(number: int, given: str, surname: str, /, **changes: Any) -> User:
    """An ordinary employee; ``changes`` make them special."""
    local = f"{given}.{surname}".lower().replace(" ", "")
    address = "".join(_ASCII.get(letter, letter) for letter in local)
    address = "".join(letter for letter in address if letter.isascii() and (letter.isalnum() or letter in ".-'"))
    usual: dict[str, Any] = {
        "display_name": f"{given} {surname}",
        "given_name": given,
        "surname": surname,
        "user_principal_name": f"{address}@{DOMAIN}",
        "mail": f"{address}@{DOMAIN}",
    }
    return User(id=user_id(number), **(usual | changes))


_ASCII = {
    "ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "é": "e", "è": "e", "ë": "e", "ç": "c", "ñ": "n", "ł": "l", "ø": "o",
    "å": "a", "í": "i", "ő": "o", "ž": "z", "š": "s", "ğ": "g", "ş": "s", "ı": "i", "á": "a", "ó": "o", "ý": "y",  # noqa: RUF001 - the Turkish letter is meant
}  # fmt: skip


def _guest(number: int, name: str, home: str, /, **changes: Any) -> User:
    local = home.replace("@", "_")
    usual: dict[str, Any] = {
        "display_name": name,
        "user_principal_name": f"{local}#EXT#@{INITIAL_DOMAIN}",
        "mail": home,
        "user_type": "Guest",
        "other_mails": (home,),
    }
    return User(id=user_id(number), **(usual | changes))


def _account(number: int, name: str, local: str, /, **changes: Any) -> User:
    """An account that is no person: shared mailbox, room, service."""
    usual: dict[str, Any] = {
        "display_name": name,
        "user_principal_name": f"{local}@{DOMAIN}",
        "mail": f"{local}@{DOMAIN}",
        "account_enabled": False,
    }
    return User(id=user_id(number), **(usual | changes))


def _awkward_people() -> list[User]:
    return [
        _named(1, "Noor", "Bakker", mobile_phone="+31600000001", job_title="Receptionist", department="Front office",
               business_phones=("+31 20 123 4567 ext. 2041",), employee_id="2041"),
        _named(2, "Imre", "Szabó", account_enabled=False, job_title="Buyer", mobile_phone="+36 20 000 0002"),
        _named(3, "Zoë", "Müller-Lüdenscheid", mobile_phone="+49 (151) 000/0003", job_title="Geschäftsführerin"),
        _named(4, "Seán", "O'Brien", mobile_phone="+353 87 000 0004", job_title="Driver"),
        _named(5, "D'Arcy", "O'Neill", mobile_phone="0611 000 005", mail="DArcy.O'Neill@Contoso.example"),
        _named(6, "Lotte", "de Vries", mail=f"lotte.devries+phone@{DOMAIN}", mobile_phone="+31-6-0000-0006"),
        _named(7, "Rocket", "Team 🚀", display_name="Rocket Team 🚀", mobile_phone="+31600000007"),
        _named(8, _LONG_GIVEN, _LONG_SURNAME, display_name=f"{_LONG_GIVEN} {_LONG_SURNAME}",
               user_principal_name=f"mm.oudekerk@{DOMAIN}", mail=f"mm.oudekerk@{DOMAIN}"),
        _named(9, "Pieter", "Smit", job_title=_LONG_TITLE, mobile_phone="+31 (0)6 0000 0009"),
        _named(10, "Saskia", "Groen", job_title=_VERY_LONG_TITLE, mobile_phone="+31600000010"),
        _named(11, "Bram", "Kuiper", job_title=f"{_VERY_LONG_TITLE} (acting)", mobile_phone="0031600000011"),
        _named(12, "  Anna", "Visser  ", display_name="  Anna Visser  ", mobile_phone=" +31600000012 "),
        _named(13, "דנה", "לוי", display_name="דנה לוי", user_principal_name=f"dana.levi@{DOMAIN}",
               mail=f"dana.levi@{DOMAIN}", mobile_phone="+972 50 000 0013"),
        _named(14, "ليلى", "حداد", display_name="ليلى حداد", user_principal_name=f"layla.haddad@{DOMAIN}",
               mail=f"layla.haddad@{DOMAIN}"),
        _named(15, "美咲", "佐藤", display_name="佐藤 美咲", user_principal_name=f"misaki.sato@{DOMAIN}",
               mail=f"misaki.sato@{DOMAIN}", mobile_phone="+81-90-0000-0015"),
        _named(16, "伟", "王", display_name="王伟", user_principal_name=f"wei.wang@{DOMAIN}",
               mail=f"wei.wang@{DOMAIN}"),
        _named(17, "Ольга", "Иванова", display_name="Ольга Иванова", user_principal_name=f"olga.ivanova@{DOMAIN}",
               mail=f"olga.ivanova@{DOMAIN}", mobile_phone="+7 (900) 000-00-17"),
        _named(18, "Mara", "Jansen", mail=None, mobile_phone="+31600000018"),
        _named(19, "Kees", "Mulder", mail=UNSET),
        _named(20, "Ilse", "", display_name="Ilse", surname=None, user_principal_name=f"ilse@{DOMAIN}",
               mail=f"ilse@{DOMAIN}"),
        _named(21, "", "Hendriks", display_name="Hendriks", given_name=UNSET, mail=f"hendriks@{DOMAIN}",
               user_principal_name=f"hendriks@{DOMAIN}"),
        User(id=user_id(22), display_name="Warehouse terminal 4", user_principal_name=f"terminal4@{DOMAIN}"),
        _named(23, "Tim", "Peters", mobile_phone="+31 6 0000 0099", job_title="Engineer"),
        _named(24, "Tom", "Peters", mobile_phone="+31600000099", job_title="Engineer"),
        _named(25, "Eva", "Maas", mail=f"front.desk@{DOMAIN}", job_title="Front desk"),
        _named(26, "Finn", "Maas", mail=f"front.desk@{DOMAIN}", job_title="Front desk"),
        _named(27, "Hanna", "Berg", mail=f"HANNA.BERG@{DOMAIN.upper()}", job_title="Head of finance",
               user_principal_name=f"hanna.berg@{DOMAIN}", mobile_phone="+31600000027"),
        _named(28, "Joris", "Dekker", mobile_phone="+31600000028", job_title="Planner"),
        _account(29, "Info mailbox", "info", business_phones=()),
        _account(30, "Invoices", "invoices", department="Finance"),
        _account(31, "Meeting room Delft", "room.delft", business_phones=("+31 20 123 4567 ext. 3001",)),
        _account(32, "svc-backup", "svc-backup", account_enabled=True, mail=UNSET, given_name=None),
        User(id=user_id(33), display_name="Old Timer", user_principal_name=f"old.timer@{DOMAIN}", user_type=None,
             given_name="Old", surname="Timer", mail=f"old.timer@{DOMAIN}", created_date_time="2012-03-01T10:00:00Z"),
        User(id=user_id(34), display_name="Older Timer", user_principal_name=f"older.timer@{DOMAIN}", user_type=None,
             given_name="Older", surname="Timer", created_date_time="2011-03-01T10:00:00Z"),
        _guest(35, "Aylin Yılmaz (Fabrikam)", "aylin.yilmaz@fabrikam.example", given_name="Aylin",  # noqa: RUF001 - Turkish
               surname="Yılmaz"),  # noqa: RUF001 - Turkish
        _guest(36, "partner@fabrikam.example", "partner@fabrikam.example"),
        _guest(37, "Luca Rossi", "luca+contoso@fabrikam.example", given_name="Luca", surname="Rossi",
               mobile_phone="+39 333 000 0037", company_name="Fabrikam Example"),
        _guest(38, "Chloé Dubois", "chloe.dubois@tailspin.example", account_enabled=False, given_name="Chloé",
               surname="Dubois"),
        _guest(39, "O'Connor, Maeve", "maeve.o'connor@tailspin.example", given_name="Maeve", surname="O'Connor"),
        _guest(40, "Pending guest", "pending@tailspin.example", mail=None),
        _named(41, "Sanne", "Bos", employee_id="1500", fax_number="+31 20 123 4599", job_title="Legal counsel"),
        _named(42, "Daan", "Vos", employee_id="E-0042", on_premises_sync_enabled=True,
               on_premises_extension_attributes={"extensionAttribute1": "2042", "extensionAttribute15": "NL-AMS"}),
        _named(43, "Femke", "Prins", employee_id="", on_premises_extension_attributes={"extensionAttribute1": "x2043"}),
        _named(44, "Ruben", "Schouten", on_premises_extension_attributes={"extensionAttribute1": "2042"},
               on_premises_sync_enabled=True, employee_id="12345678"),
        _named(45, "Nina", "Willems", business_phones=("020-1234567",), fax_number="201-555/2045", mobile_phone=None),
        _named(46, "Omar", "El Amrani", mobile_phone="(06) 0000 0046 / 0000 0047", job_title="Sales"),
        _named(47, "Jan", "Jansen", user_principal_name=f"jan.jansen1@{DOMAIN}", mail=f"jan.jansen1@{DOMAIN}"),
        _named(48, "Jan", "Jansen", user_principal_name=f"jan.jansen2@{DOMAIN}", mail=f"jan.jansen2@{DOMAIN}"),
        _named(49, "Jan", "Jansen", user_principal_name=f"jan.jansen3@{DOMAIN}", mail=f"jan.jansen3@{DOMAIN}",
               account_enabled=False),
        _named(50, "Łukasz", "Świątek", user_principal_name=f"lukasz.swiatek@{DOMAIN}",
               mail=f"lukasz.swiatek@{DOMAIN}", preferred_language="pl-PL"),
        _named(51, "Gone", "Yesterday", mobile_phone="+31600000051"),
        _named(52, "Gone", "Lastweek", mobile_phone="+31600000052"),
        _named(53, "Gone", "Disabled", account_enabled=False),
        _guest(54, "Gone Guest", "gone@tailspin.example"),
        _named(55, 'Quote "Q"', "Comma, Jr.", user_principal_name=f"quote@{DOMAIN}", mail=f"quote@{DOMAIN}"),
        _named(56, "Tab\tby", "New\nline", display_name="Tabby Newline", user_principal_name=f"tabby@{DOMAIN}",
               mail=f"tabby@{DOMAIN}"),
        _named(57, "<b>Bold</b>", "&amp; Co", display_name="<b>Bold</b> &amp; Co",
               user_principal_name=f"bold@{DOMAIN}", mail=f"bold@{DOMAIN}"),
        _named(58, "Zero\u200bWidth", "Joiner", display_name="Zero\u200bWidth Joiner",
               user_principal_name=f"zero.width@{DOMAIN}", mail=f"zero.width@{DOMAIN}"),
        _named(59, "Björk", "Guðmundsdóttir", user_principal_name=f"bjork@{DOMAIN}", mail=f"bjork@{DOMAIN}"),
        _named(60, "Decomposed", "Ne\u0301", user_principal_name=f"decomposed@{DOMAIN}", mail=f"decomposed@{DOMAIN}"),
    ]  # fmt: skip


GONE = (51, 52, 53, 54)
"""Numbers of the deleted users of the sample."""

_GIVEN_NAMES = """
    Adam Alma Amir Anke Arjan Astrid Bas Britt Carla Casper Dilan Dirk Elif Emma Erik Esra Fenna Floor Gijs Greta
    Hugo Ingrid Isa Jasmijn Jelle Julia Karim Klaas Lars Lena Lieke Lucas Maud Mats Mila Milan Nadia Niels Olaf Otto
    Paula Quinten Rosa Sam Sofie Stijn Tess Thijs Vera Willem Yara Youssef Jürgen Renée François Åsa Jørgen Žofie
"""
_SURNAMES = """
    Aalders Acar Bakker Blom Bosch Brouwer Claassen Cohen Demir Dijkstra Driessen Evers Fischer Gerritsen Hoekstra
    Huisman Jacobs Kaya Koster Kramer Lammers Martens Meijer Nguyen Okafor Otten Pinto Postma Ramdin Roos Rossi
    Sanders Schmidt Scholten Timmermans Verhoeven Vermeer Wolff Wouters Şahin Zijlstra Østergård Çelik Groß Núñez
"""
_GIVEN, _SURNAME = _GIVEN_NAMES.split(), _SURNAMES.split()
_TITLES = ("Account manager", "Accountant", "Analyst", "Driver", "Engineer", "HR adviser", "Planner", "Service desk",
           "Team lead", "Technician", "Warehouse assistant", _LONG_TITLE)  # fmt: skip
_DEPARTMENTS = ("Finance", "HR", "IT", "Logistics", "Operations", "Sales", "Service")
_MOBILES = ("+3160{:07d}", "+31 6 0{:07d}", "+31 (0)6-0{:07d}", "060{:07d}", "+31/60/{:07d}", "06 - 0{:07d}")


def _ordinary(number: int, chance: random.Random) -> User:
    """One of many: mostly complete, now and then not."""
    given, surname = chance.choice(_GIVEN), chance.choice(_SURNAME)
    name = f"{given} {surname}"
    local = f"u{number}.{given}".lower().translate(_TRANSLATE)
    address = f"{local}@{DOMAIN}"
    draw = chance.random
    if draw() < 0.04:
        home = f"{local}@partner{number % 17}.example"
        return _guest(number, name, home, given_name=given if draw() < 0.6 else UNSET)
    return User(
        id=user_id(number),
        display_name=name,
        user_principal_name=address,
        account_enabled=draw() >= 0.05,
        user_type="Member" if draw() >= 0.005 else None,
        given_name=given if draw() >= 0.03 else UNSET,
        surname=surname if draw() >= 0.03 else None,
        mail=address if draw() >= 0.08 else UNSET,
        mobile_phone=chance.choice(_MOBILES).format(number) if draw() < 0.55 else UNSET,
        business_phones=(f"+31 20 123 4567 ext. {2000 + number}",) if draw() < 0.4 else (() if draw() < 0.5 else UNSET),
        job_title=chance.choice(_TITLES) if draw() < 0.7 else UNSET,
        department=chance.choice(_DEPARTMENTS) if draw() < 0.7 else UNSET,
        employee_id=f"{10000 + number}" if draw() < 0.3 else UNSET,
        usage_location="NL",
    )


_TRANSLATE = str.maketrans(_ASCII | {"Å": "a", "Ø": "o", "Ž": "z"})


# Groups


def _microsoft365(number: int, name: str, **changes: Any) -> Group:
    nickname = f"team{number}"
    usual: dict[str, Any] = {"mail": f"{nickname}@{DOMAIN}", "mail_nickname": nickname, "visibility": "Private"}
    return Group(id=group_id(number), display_name=name, mail_enabled=True, security_enabled=False,
                 **({"group_types": ("Unified",)} | usual | changes))  # fmt: skip


def _security(number: int, name: str, **changes: Any) -> Group:
    return Group(
        id=group_id(number),
        display_name=name,
        mail_enabled=False,
        security_enabled=True,
        **({"mail_nickname": f"sec{number}"} | changes),
    )


def _mail_enabled(number: int, name: str, *, security: bool) -> Group:
    nickname = f"list{number}"
    mail = f"{nickname}@{DOMAIN}"
    return Group(id=group_id(number), display_name=name, mail_enabled=True, security_enabled=security, mail=mail,
                 mail_nickname=nickname)  # fmt: skip


def _dynamic(number: int, name: str, rule: str) -> Group:
    return _security(number, name, group_types=("DynamicMembership",), membership_rule=rule)


DEVICES = tuple(
    [Device(id=device_id(number), kind="device", display_name=f"LAPTOP-{number:03}") for number in range(1, 9)]
    + [
        Device(id=device_id(20), kind="orgContact", display_name="Courier hotline"),
        Device(id=device_id(21), kind="servicePrincipal", display_name="Backup service"),
    ]
)


def _sample_groups() -> list[tuple[Group, list[int | str]]]:
    """Each group with its members: numbers of users, or whole ids."""
    everyone = [number for number in range(1, 161) if number not in GONE]
    return [
        (_microsoft365(1, "Reception"), [1, 25, 26, 4]),
        (_microsoft365(2, "Sales"), [46, 23, 24, 35, 61, 62, 63]),
        (_microsoft365(3, "Sales"), [64, 65, 66]),
        (_security(4, "Finance"), [27, 30, 67, 68]),
        (_security(5, "All employees"), [*everyone]),
        (_security(6, "Empty on purpose"), []),
        (_security(7, "Company laptops"), [item.id for item in DEVICES[:8]]),
        (_security(8, "External partners"), [35, 36, 37, 38, 39, 40]),
        (_mail_enabled(9, "Drivers (mail security)", security=True), [4, 69, 70, 71]),
        (_mail_enabled(10, "Newsletter", security=False), [1, 5, 9, 35, device_id(20)]),
        (_dynamic(11, "Everyone in IT", '(user.department -eq "IT")'), [72, 73, 74, 75]),
        (_microsoft365(12, "Board 🏛️", visibility="HiddenMembership"), [3, 27]),
        (_security(13, "Nested: Netherlands"), [group_id(14), group_id(15), 41]),
        (_security(14, "Nested: Amsterdam"), [42, 43, 76, 77]),
        (_security(15, "Nested: Rotterdam"), [group_id(16), 44]),
        (_security(16, "Nested: Rotterdam harbour"), [78, 79, 42]),
        (_security(17, "Circle A"), [group_id(18), 80]),
        (_security(18, "Circle B"), [group_id(19), 81]),
        (_security(19, "Circle C"), [group_id(17), 82]),
        (_security(20, "Only disabled"), [2, 29, 30]),
        (_security(21, "With deleted members"), [51, 52, 83]),
        (_microsoft365(22, "Ümläuts & Söhne"), [3, 84]),
        (_microsoft365(23, "  Leading blank"), [85]),
        (_microsoft365(24, "A group name that is much longer than anything a telephone display will ever be able "
                           "to show without cutting it"), [86, 87]),
        (_security(25, "Sales"), [88]),
        (_security(26, "经理"), [15, 16, 89]),
        (_security(27, "مبيعات"), [14]),
        (_security(28, "Backup operators"), [device_id(21), 32]),
        (_dynamic(29, "Dynamic devices", '(device.deviceOSType -eq "Windows")'), [device_id(1), device_id(2)]),
        (_microsoft365(30, "Project Tulip", description="Ends in June"), [90, 91, 92, 37]),
        (_microsoft365(31, "Project Daffodil (deleted)"), [90, 93]),
        (_security(32, "Nested with guest group"), [group_id(8), 94]),
        (_mail_enabled(33, "Service announcements", security=False), [group_id(5)]),
        (Group(id=group_id(34), display_name="Dynamic team", mail_enabled=True, security_enabled=True,
               group_types=("Unified", "DynamicMembership"), mail=f"dynteam@{DOMAIN}", mail_nickname="dynteam",
               membership_rule='(user.department -eq "Service")'), [95, 96, 97]),
    ]  # fmt: skip


def sample_tenant() -> Tenant:
    """160 users and 34 groups, the same ones every time."""
    chance = random.Random(2026)
    people = _awkward_people()
    people += [_ordinary(number, chance) for number in range(len(people) + 1, 161)]
    groups = _sample_groups()
    return Tenant(
        users=tuple(people),
        groups=tuple(group for group, _ in groups),
        devices=DEVICES,
        members={
            group.id: tuple(item if isinstance(item, str) else user_id(item) for item in members)
            for group, members in groups
            if members
        },
        owners={group_id(1): (user_id(1),), group_id(2): (user_id(46), user_id(23))},
        deleted=frozenset([*(user_id(number) for number in GONE), group_id(31)]),
    )


def generate_tenant(users: int, groups: int, seed: int) -> Tenant:
    """A tenant of any size with the same kinds of awkwardness, the same one for the same arguments."""
    chance = random.Random(seed)
    people = [item for item in _awkward_people() if int(item.id[-12:], 16) not in GONE][:users]
    people += [_ordinary(number, chance) for number in range(61, 61 + users - len(people))]
    ids = [item.id for item in people]
    made: list[Group] = []
    members: dict[str, tuple[str, ...]] = {}
    for number in range(1, groups + 1):
        group = _generated_group(number, chance)
        made.append(group)
        joined = chance.sample(ids, min(len(ids), _group_size(users, number, chance)))
        if number > 2 and chance.random() < 0.08:
            joined.append(group_id(chance.randrange(1, number)))
        if joined:
            members[group.id] = tuple(joined)
    deleted = frozenset(identifier for identifier in ids[60:] if chance.random() < 0.005)
    return Tenant(users=tuple(people), groups=tuple(made), members=members, deleted=deleted)


def _group_size(users: int, number: int, chance: random.Random) -> int:
    """The first group holds a third of everybody; most are teams, a few departments, some are empty."""
    if number == 1:
        return users // 3
    draw = chance.random()
    if draw < 0.03:
        return 0
    return chance.randrange(1, max(2, users // 50)) if draw < 0.05 else chance.randrange(1, 40)


def _generated_group(number: int, chance: random.Random) -> Group:
    name = f"{chance.choice(_DEPARTMENTS)} {chance.choice(_SURNAME)}"
    draw = chance.random()
    if draw < 0.5:
        return _microsoft365(number, name)
    if draw < 0.85:
        return _security(number, name)
    if draw < 0.93:
        return _mail_enabled(number, name, security=draw < 0.89)
    return _dynamic(number, name, '(user.department -eq "IT")')


# The PBX before the bridge came


def sample_extensions() -> tuple[dict[str, Any], ...]:
    """A dozen extensions made by hand; those of Hanna Berg and Joris Dekker have a sample user's e-mail."""
    rows = [
        (1, "1000", "Reception", "Desk", "", "", "Front desk", ""),
        (2, "1003", "Hanna", "Berg", f"hanna.berg@{DOMAIN}", "+31600000027", "Head of finance", ""),
        (3, "1010", "Joris", "Dekker", f"joris.dekker@{DOMAIN}", "", "", ""),
        (4, "1011", "Door", "Station North", "", "", "", ""),
        (5, "1025", "Lift", "Alarm", "", "", "Do not delete", "+31201234567"),
        (6, "1500", "Night", "Watch", "nightwatch@security.example", "+31600009999", "Contractor", ""),
        (7, "1999", "Lobby", "Phone", "", "", "", ""),
        (8, "2041", "Old", "Switchboard", "switchboard@tailspin.example", "", "", ""),
        (9, "3000", "Conference", "Room Delft", "", "", "", ""),
        (10, "6200", "Fax", "Machine", "", "", "", "+31201234599"),
        (11, "6201", "Fire", "Panel", "", "", "", ""),
        (12, "9001", "Test", "Technician", "pbx.test@maintenance.example", "", "Vendor", ""),
    ]
    names = ("id", "number", "first_name", "last_name", "email_addr", "mobile_number", "title", "caller_id")
    return tuple(dict(zip(names, row, strict=True)) | {"role_id": 0, "presence_status": "available"} for row in rows)
