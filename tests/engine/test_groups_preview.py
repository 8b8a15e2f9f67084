"""Lives of a connection by chance, users and groups together: a preview is what the run then does, and incremental runs
leave nothing to a full one."""

import random
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import pytest

from local.azurite import Azurite
from local.pbx.directory import Extension
from local.tls import ServerCertificate
from store.runs import Run
from tests.engine.world import GroupKind, World, empty_world

ROUNDS = 6
NAMES = ("Sales", "SALES", "West", "East", "North", "By hand", "Default_All_Extensions")
KINDS: tuple[GroupKind, ...] = ("security", "microsoft365", "other")


@pytest.fixture
async def world(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[World]:
    async with empty_world(azurite, certificate, signing_keys) as world:
        yield world


class Life:
    """Changes of every kind, drawn by chance. A peaceful one knows no changes by hand, and each name but once."""

    def __init__(self, world: World, seed: int, *, is_peaceful: bool = False) -> None:
        self._world = world
        self._is_peaceful = is_peaceful
        self._chance = random.Random(seed)  # noqa: S311 - a life that can be lived again
        self._newcomers = self._names = 0
        self._changes: list[Callable[[], None]] = [
            self.hire, self.fire, self.rehire, self.switch, self.retitle, self.join, self.join, self.leave, self.leave,
            self.found, self.rename, self.dissolve, self.revive,
        ]  # fmt: skip
        if not is_peaceful:
            self._changes += [self.edit_by_hand, self.delete_by_hand, self.make_by_hand]

    def choice[T](self, *some: T) -> T:
        return self._chance.choice(some)

    def goes_on(self) -> None:
        for _ in range(self._chance.randrange(1, 7)):
            self._chance.choice(self._changes)()

    async def rules(self) -> None:
        """Other rules, now and then."""
        chance = self._chance
        if chance.random() < 0.6:
            return
        groups = self._ids("group")
        users: dict[str, Any] = {"scope": {"kind": "all"}, "delete_out_of_scope": chance.random() < 0.5}
        if groups and chance.random() < 0.5:
            users["scope"] = {"kind": "groups", "group_ids": [chance.choice(groups)]}
        scopes: list[dict[str, Any]] = [
            {"kind": "all"},
            {"kind": "types", "group_types": ["security"]},
            {"kind": "groups", "group_ids": groups[:2]},
        ]
        await self._world.enable_groups(
            users,
            scope=chance.choice(scopes),
            delete_out_of_scope=chance.random() < 0.5,
            associate_by_name=chance.random() < 0.5,
        )

    def _ids(self, kind: str, *, deleted: bool = False) -> list[str]:
        directory = self._world.microsoft.directory
        if not deleted:
            return [entity.id for _, entity in directory.live(kind)]
        return [one for one in directory.deleted if directory.entities[one].kind == kind]

    def _some(self, kind: str, *, deleted: bool = False) -> list[str]:
        """One of these, as far as there are any."""
        ids = self._ids(kind, deleted=deleted)
        return [self._chance.choice(ids)] if ids else []

    def hire(self) -> None:
        self._newcomers += 1
        newcomer = self._world.person(f"Newcomer {self._newcomers}")
        for group in self._some("group"):
            self._world.join(group, newcomer)

    def fire(self) -> None:
        for user in self._some("user"):
            self._world.delete_user(user)

    def rehire(self) -> None:
        for user in self._some("user", deleted=True):
            self._world.restore_user(user)

    def switch(self) -> None:
        for user in self._some("user"):
            self._world.change_user(user, accountEnabled=self._chance.random() < 0.5)

    def retitle(self) -> None:
        for user in self._some("user"):
            self._world.change_user(user, jobTitle=self._chance.choice(["Clerk", "Boss", None]))

    def join(self) -> None:
        for group in self._some("group"):
            ids = [*self._ids("user"), *self._ids("group")]
            self._world.join(group, *{one for one in self._chance.choices(ids, k=2) if one != group})

    def leave(self) -> None:
        directory = self._world.microsoft.directory
        for group in self._some("group"):
            members = sorted(directory.entities[group].links.get("members", {}))
            if members:
                self._world.leave(group, self._chance.choice(members))

    def found(self) -> None:
        members = [*self._some("user"), *self._some("group")]
        self._world.group(self._name(), *members, kind=self._chance.choice(KINDS))

    def rename(self) -> None:
        for group in self._some("group"):
            self._world.rename_group(group, self._name())

    def _name(self) -> str:
        self._names += 1
        return f"Group {self._names}" if self._is_peaceful else self._chance.choice(NAMES)

    def dissolve(self) -> None:
        for group in self._some("group"):
            self._world.delete_group(group)

    def revive(self) -> None:
        for group in self._some("group", deleted=True):
            self._world.restore_group(group)

    def edit_by_hand(self) -> None:
        names = [name for name, _ in self._world.pbx_groups()]
        numbers = list(self._world.extensions())
        if names:
            some = self._chance.sample(numbers, min(len(numbers), 2))
            self._world.edit_pbx_group(self._chance.choice(names), some, member_select="sel_specific")

    def delete_by_hand(self) -> None:
        names = [name for name, _ in self._world.pbx_groups()]
        if names and self._chance.random() < 0.5:
            self._world.remove_pbx_group(self._chance.choice(names))

    def make_by_hand(self) -> None:
        taken = {name.casefold() for name, _ in self._world.pbx_groups()}
        if "by hand" not in taken:
            self._world.add_pbx_group("By hand", list(self._world.extensions())[:1])
        number = str(self._chance.randrange(1000, 1010))
        if number not in self._world.extensions():
            self._world.pbx.machine.directory.add(Extension(number=number))


async def shown(world: World, run: Run) -> list[tuple[Any, ...]]:
    """What a run says that it did, or a preview that it would: how a rename went is known only after it."""
    return sorted(
        (
            item.kind,
            item.object_id,
            item.operation,
            "done" if item.outcome == "planned" else item.outcome,
            item.extension,
            item.reason,
            sorted(item.before.items()),
            sorted(item.after.items()),
            [note for note in item.notes if note != "Renamed by an update."],
        )
        for item in await world.items(run)
    )


@pytest.mark.parametrize("seed", range(8))
async def test_a_preview_is_what_the_run_does_and_a_second_full_run_has_nothing_to_write(
    world: World, seed: int
) -> None:
    life = Life(world, seed)
    people = world.people(6)
    world.group("West", *people[:2], world.group("East", *people[2:4]))
    await world.first_sync(delete_out_of_scope=True)
    for _ in range(ROUNDS):
        life.goes_on()
        await life.rules()
        mode = life.choice("full", "incremental")
        written = len(world.writes()) + len(world.group_writes())
        preview = await world.sync(mode=mode, preview=True)
        assert len(world.writes()) + len(world.group_writes()) == written
        run = await world.sync(mode=mode)
        assert (preview.status, preview.fault) == (run.status, run.fault)
        assert await shown(world, preview) == await shown(world, run)
    first, second = await world.sync(), await world.sync()
    if first.status == "succeeded":  # a group of the users' scope that is gone stops both
        assert second.requests["pbx_writes"] == 0
        told = {item.object_id for item in await world.items(second) if item.outcome == "skipped"}
        await members_are_right(world, besides=told)


@pytest.mark.parametrize("seed", range(8))
async def test_incremental_runs_leave_nothing_to_a_full_one(world: World, seed: int) -> None:
    life = Life(world, seed, is_peaceful=True)
    people = world.people(8)
    inner = world.group("Inner", *people[2:4])
    staff = world.group("Staff", *people[:2], inner)
    scope = {"kind": "groups", "group_ids": [staff]} if seed % 2 else {"kind": "all"}
    await world.first_sync(users={"scope": scope, "delete_out_of_scope": True}, delete_out_of_scope=True)
    await world.settings(lambda document: document["guard"].update(max_deletions=1000))
    for _ in range(ROUNDS):
        life.goes_on()
        for what in (life.choice(["users"], ["groups"], ["users", "groups"]), ["users", "groups"]):
            run = await world.run(mode="incremental", what=what)
            if run.status == "failed":
                assert run.fault is not None
                assert run.fault.code == "scope_group_missing"
                return
        preview = await world.sync(preview=True)
        assert {item.operation for item in await world.items(preview)} <= {"skip"}
        await members_are_right(world)


async def members_are_right(world: World, besides: Collection[str] = ()) -> None:
    """Every linked group that Entra still has holds the extensions of its users, and no others."""
    directory = world.microsoft.directory
    numbers = {link.object_id: link.number for link in await world.links() if link.state == "linked"}
    extensions = {extension.id: extension.number for extension in world.pbx.machine.directory}
    for link in (await world.group_links()).values():
        entity = directory.find("group", link.object_id)
        if entity is None or link.state != "linked" or link.object_id in besides:
            continue
        wanted = {numbers[member.id] for member in directory.transitive_members(entity) if member.id in numbers}
        group = world.pbx.machine.groups.get(link.pbx_id or 0)
        assert group is not None
        assert {extensions[member.ext_id] for member in group.members} == wanted


async def test_a_preview_knows_that_a_deleted_extension_leaves_its_groups_by_itself(world: World) -> None:
    ann, bob = world.people(2)
    world.group("Sales", ann, bob)
    await world.first_sync()
    world.delete_user(ann)
    preview = await world.sync(preview=True)
    run = await world.sync()
    assert [item.kind for item in await world.items(preview)] == ["users"]
    assert await shown(world, preview) == await shown(world, run)
    assert world.pbx_groups() == [("Sales", ["1001"])]


async def test_a_preview_gives_new_groups_the_numbers_that_new_users_would_get(world: World) -> None:
    world.group("Sales", *world.people(2))
    await world.secrets()
    await world.settings()
    preview = await world.sync(preview=True)
    [group] = [item for item in await world.items(preview) if item.kind == "groups"]
    assert (group.outcome, group.after) == ("planned", {"name": "Sales", "members": "1000, 1001"})
    assert world.extensions() == {}
    [message] = await world.enable_groups()
    assert await shown(world, preview) == await shown(world, await world.execute(message))
