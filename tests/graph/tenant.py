"""A small tenant for reading, and short ways to read it and to plant faults."""

from typing import Any

from graph.client import Graph
from graph.models import BASE_SELECT, User
from local.emulator import Fault, Recorded
from local.microsoft import MicrosoftEmulator
from local.sample import Group, Tenant, group_id, user_id
from local.sample import User as Person

PEOPLE = 12
MANY = 1500
ROOT, NESTED, CIRCULAR, CROWD, EMPTY = (group_id(number) for number in range(1, 6))


def tenant(people: int = PEOPLE, **more: Any) -> Tenant:
    """Twelve users and groups nested in a circle; more users on demand."""
    users = tuple(
        Person(
            id=user_id(number),
            display_name=f"Person {number}",
            user_principal_name=f"person{number}@contoso.example",
            mail=f"person{number}@contoso.example",
            given_name=f"Given {number}",
        )
        for number in range(1, people + 1)
    )
    groups = tuple(
        Group(id=name, display_name=name, mail_enabled=False, security_enabled=True)
        for name in (ROOT, NESTED, CIRCULAR, CROWD, EMPTY)
    )
    members = {
        ROOT: (user_id(1), user_id(2), NESTED),
        NESTED: (user_id(2), user_id(3), CIRCULAR),
        CIRCULAR: (user_id(4), ROOT),
        CROWD: tuple(user.id for user in users),
    }
    return Tenant(users=users, groups=groups, members=members, **more)


async def read(graph: Graph, link: str | None = None) -> tuple[list[User], str]:
    """All entries of a round in the order they came, and the next delta link."""
    entries: list[User] = []
    async for page in graph.user_pages(BASE_SELECT, link):
        entries += page.value
        delta = page.delta_link
    assert delta is not None
    return entries, delta


def fault(kind: str = "status", path: str = "/v1.0/*", **options: Any) -> Fault:
    return Fault(kind=kind, path=path, **options)


def refusal(status: int, code: str, **options: Any) -> Fault:
    """Graph's own kind of error answer."""
    return fault(status=status, body={"error": {"code": code, "message": "In words."}}, **options)


def seen(emulator: MicrosoftEmulator, part: str = "/v1.0/") -> list[Recorded]:
    """The requests that reached the emulator and have ``part`` in their path."""
    return [request for request in emulator.requests if part in request.path]
