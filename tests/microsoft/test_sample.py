"""The sample company is as awkward as promised, and the same every time."""

import re
import time
import unicodedata
from collections import Counter
from typing import Any

from msgspec import UNSET

from local import sample
from local.microsoft import MicrosoftEmulator
from local.sample import Device, Group, Tenant, User, generate_tenant, sample_extensions, sample_tenant

TENANT = sample_tenant()
PEOPLE = TENANT.users


def all_ids(tenant: Tenant) -> list[str]:
    objects: list[User | Group | Device] = [*tenant.users, *tenant.groups, *tenant.devices]
    return [item.id for item in objects]


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def test_it_is_the_same_every_time() -> None:
    assert sample_tenant() == TENANT
    assert generate_tenant(300, 20, 7) == generate_tenant(300, 20, 7)
    assert generate_tenant(300, 20, 7) != generate_tenant(300, 20, 8)


def test_its_size() -> None:
    assert len(PEOPLE) >= 150
    assert len(TENANT.groups) >= 30


def test_ids_and_names_are_unique() -> None:
    for tenant in (TENANT, generate_tenant(5000, 50, 1)):
        names = Counter(user.user_principal_name.lower() for user in tenant.users)
        assert max(names.values()) == 1
        ids = all_ids(tenant)
        assert len(set(ids)) == len(ids)
        assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", item) for item in ids)


def test_all_addresses_are_invented() -> None:
    for user in (*PEOPLE, *generate_tenant(2000, 5, 1).users):
        for address in (user.user_principal_name, text(user.mail)):
            assert not address or address.lower().endswith(".example"), address


def test_links_lead_to_known_objects() -> None:
    for tenant in (TENANT, generate_tenant(500, 60, 3)):
        known = set(all_ids(tenant))
        assert all(set(linked) <= known for linked in (*tenant.members.values(), *tenant.owners.values()))
        assert tenant.deleted <= known


def awkwardness(tenant: Tenant) -> dict[str, int]:
    def count(test: Any) -> int:
        return sum(1 for user in tenant.users if test(user))

    return {
        "guest": count(lambda user: user.user_type == "Guest" and "#EXT#" in user.user_principal_name),
        "no type": count(lambda user: user.user_type is None),
        "disabled": count(lambda user: not user.account_enabled),
        "no given name": count(lambda user: not text(user.given_name)),
        "no surname": count(lambda user: not text(user.surname)),
        "neither": count(lambda user: not text(user.given_name) and not text(user.surname)),
        "no mail": count(lambda user: not text(user.mail)),
        "no phone": count(lambda user: user.mobile_phone is UNSET),
        "umlaut": count(lambda user: "ü" in user.display_name or "ö" in user.display_name or "ë" in user.display_name),
        "long title": count(lambda user: 63 < len(text(user.job_title)) <= 128),
    }


def test_every_kind_of_awkwardness_is_there() -> None:
    assert all(awkwardness(TENANT).values()), awkwardness(TENANT)
    assert all(awkwardness(generate_tenant(2000, 10, 1)).values())


def some(test: Any) -> list[User]:
    return [user for user in PEOPLE if test(user)]


def test_the_special_cases() -> None:
    assert some(lambda user: "'" in user.display_name)
    assert some(lambda user: "🚀" in user.display_name)
    assert some(lambda user: "+" in text(user.mail))
    assert some(lambda user: len(text(user.job_title)) > 128)
    assert some(lambda user: len(user.display_name) > 120)
    assert some(lambda user: user.business_phones == ("+31 20 123 4567 ext. 2041",))
    assert some(lambda user: user.display_name != user.display_name.strip())
    assert some(lambda user: any(unicodedata.bidirectional(letter) in "RAL" for letter in user.display_name[:1]))
    assert some(lambda user: "CJK" in unicodedata.name(user.display_name[0], ""))
    assert some(lambda user: text(user.employee_id))
    assert some(lambda user: text(user.fax_number))
    assert some(lambda user: user.on_premises_extension_attributes is not UNSET)
    for sign in " /()":
        assert some(lambda user, sign=sign: sign in text(user.mobile_phone)), sign
    mails = Counter(text(user.mail).lower() for user in PEOPLE if text(user.mail))
    assert mails[f"front.desk@{sample.DOMAIN}"] == 2
    phones = Counter(re.sub(r"\D", "", text(user.mobile_phone)) for user in PEOPLE if text(user.mobile_phone))
    assert phones["31600000099"] == 2


def test_groups_of_every_kind() -> None:
    names = Counter(group.display_name for group in TENANT.groups)
    assert names["Sales"] == 3
    kinds = {(group.mail_enabled, group.security_enabled, "Unified" in group.group_types) for group in TENANT.groups}
    assert kinds >= {(True, False, True), (False, True, False), (True, True, False), (True, False, False)}
    assert any("DynamicMembership" in group.group_types and group.membership_rule for group in TENANT.groups)
    assert any(group.id not in TENANT.members for group in TENANT.groups), "an empty one"
    assert max(len(members) for members in TENANT.members.values()) >= 150
    devices = {device.id for device in TENANT.devices}
    guests = {user.id for user in PEOPLE if user.user_type == "Guest"}
    assert any(set(members) <= devices for members in TENANT.members.values())
    assert any(set(members) <= guests for members in TENANT.members.values())


def test_circles_of_groups_are_there_and_harmless() -> None:
    directory = MicrosoftEmulator(TENANT).directory
    circle = directory.entities[sample.group_id(17)]
    found = {entity.id for entity in directory.transitive_members(circle)}
    assert {sample.group_id(18), sample.group_id(19), sample.user_id(82)} <= found


def test_a_dozen_extensions_of_which_two_belong_to_sample_users() -> None:
    extensions = sample_extensions()
    assert len(extensions) == 12
    numbers = [extension["number"] for extension in extensions]
    assert {"1000", "1003", "1010", "1500", "6200"} <= set(numbers)
    assert len(set(numbers)) == 12
    mails = {text(user.mail): user for user in PEOPLE if text(user.mail)}
    folded = {mail.lower() for mail in mails}
    matching = [extension["email_addr"] for extension in extensions if extension["email_addr"].lower() in folded]
    assert len(matching) == 2
    assert any(mail not in mails for mail in matching), "one differs in letter case"
    assert sample_extensions() == extensions


def test_a_hundred_thousand_users_are_made_in_seconds() -> None:
    started = time.perf_counter()
    tenant = generate_tenant(100_000, 1000, 1)
    assert time.perf_counter() - started < 10, "about 1.5 s on an idle machine"
    assert (len(tenant.users), len(tenant.groups)) == (100_000, 1000)
