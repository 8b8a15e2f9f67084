"""Short lives of many connections, and proofs that a bridge which breaks a law is found out."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from local.azurite import Azurite
from local.microsoft.keys import KeyRing
from local.tls import ServerCertificate
from pbx.tokens import SharedToken
from store.leases import Lease
from sync.applying import Applied, Applier
from sync.plan import Held
from sync.planner import _Planner
from tests.conftest import AUTHORITY
from tests.simulation.days import Broken, simulate
from tests.simulation.invariants import (
    Law,
    deletions_follow_a_rule,
    every_new_extension_is_on_record,
    secrets_stay_secret,
    the_cursor_moves_behind_a_whole_plan_only,
    the_guard_holds_mass_deletions,
)
from tests.simulation.troupe import Troupe, troupe

GROUP = 20
DAYS = 3
SEARCHED = 20


@pytest.fixture(scope="module")
def players() -> Iterator[Troupe]:
    with troupe() as players:
        yield players


@pytest.mark.parametrize("first", range(1, 201, GROUP), ids=lambda first: f"seeds-{first}-to-{first + GROUP - 1}")
def test_no_law_is_broken_in_the_life_of_a_connection(players: Troupe, first: int) -> None:
    broken = [outcome for outcome in players.play(range(first, first + GROUP), DAYS) if outcome.is_broken]
    assert not broken, "\n\n".join(outcome.words for outcome in broken)


def test_a_broken_law_is_told_with_the_command_that_shows_it_again() -> None:
    words = str(Broken(7, 2, ["  somebody does something"], ["a_law: it is broken"]))
    assert words.startswith("Seed 7, day 2:\n  somebody does something\n")
    assert "make simulate SEED=7 DAYS=2 SEEDS=1" in words


def test_a_seed_that_falls_over_is_named_with_the_command_that_shows_it_again(players: Troupe) -> None:
    [outcome] = players.play(range(7, 8), 0.5)  # type: ignore[arg-type] # half a day cannot be played
    assert outcome.is_broken
    assert outcome.words.startswith("Seed 7 fell over:\nTraceback")
    assert "make simulate SEED=7 DAYS=1 SEEDS=1" in outcome.words


# Bridges that break a law


def deletes_whom_it_should_release(patch: pytest.MonkeyPatch) -> None:
    original = _Planner._remove

    def remove(self: _Planner, link: Any, name: str, reason: str, *, delete: bool) -> None:
        original(self, link, name, reason, delete=delete or True)

    patch.setattr(_Planner, "_remove", remove)


def creates_without_intents(patch: pytest.MonkeyPatch) -> None:
    async def forget(*_: object) -> None:
        return

    patch.setattr(Lease, "write_note", forget)
    patch.setattr(Lease, "keep_note", lambda *_: None)


def ignores_the_guard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("sync.stage.check", lambda *_, **__: Held())


def forgets_what_failed(patch: pytest.MonkeyPatch) -> None:
    original = Applier.apply

    async def apply(self: Applier, plan: Any, held: Any) -> Applied:
        return msgspec.structs.replace(await original(self, plan, held), retry=frozenset())

    patch.setattr(Applier, "apply", apply)


def talks_about_tokens(patch: pytest.MonkeyPatch) -> None:
    original = SharedToken.get

    async def get(self: SharedToken, rejected: str = "") -> str:
        token = await original(self, rejected)
        logging.getLogger("pbx").info("the token is %s", token)
        return token

    patch.setattr(SharedToken, "get", get)


@pytest.mark.parametrize(
    ("breaks", "law", "seed"),
    [
        (deletes_whom_it_should_release, deletions_follow_a_rule, 1),
        (creates_without_intents, every_new_extension_is_on_record, 1),
        (ignores_the_guard, the_guard_holds_mass_deletions, 1),
        (forgets_what_failed, the_cursor_moves_behind_a_whole_plan_only, 15),
        (talks_about_tokens, secrets_stay_secret, 1),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
async def test_a_bridge_that_breaks_a_law_is_found_out(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch, breaks: Callable[[pytest.MonkeyPatch], None], law: Law, seed: int
) -> None:
    breaks(monkeypatch)
    certificate, keys = AUTHORITY.issue("simulation"), KeyRing()
    with pytest.raises(Broken, match=f"{law.__name__}: "):
        await live(azurite, certificate, keys, range(seed, seed + SEARCHED), law)


async def live(azurite: Azurite, certificate: ServerCertificate, keys: KeyRing, seeds: range, law: Law) -> None:
    for seed in seeds:  # more than one: what a seed brings changes with the simulation
        await simulate(azurite, certificate, keys, seed=seed, days=DAYS, laws=[law])
