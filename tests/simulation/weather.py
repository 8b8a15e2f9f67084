"""What breaks around a run: a plan of faults, drawn and said."""

from random import Random

import msgspec

from local.emulator import Fault
from tests.engine.world import World
from tests.simulation.stage import Gate

DELTA = "/v1.0/users/delta*"
GRAPH = "/v1.0/*"
API = "/openapi/v1.0"
PBX_PATHS = ("extension/create", "extension/update", "extension/delete", "extension/list", "extension/query",
             "extension/search", "system/*", "get_token", "refresh_token", "*")  # fmt: skip
WRITES = PBX_PATHS[:3]


def oddities(world: World, chance: Random) -> str:
    """How delta queries answer from now on; nothing of it is a fault."""
    odd = chance.random() < 0.6
    changed = {
        "page_size": chance.choice([2, 5, 200]),
        "duplicates": odd and chance.random() < 0.3,
        "stale_duplicates": odd and chance.random() < 0.3,
        "out_of_order": odd and chance.random() < 0.3,
        "empty_pages": chance.choice([0, 0, 1, 3]) if odd else 0,
        "replay": chance.choice([0, 0, 4]) if odd else 0,
        "removed_in_first_round": odd and chance.random() < 0.3,
        "reset_answer": chance.choice(["410_location", "410_resync_required", "400_sync_state_not_found"]),
    }
    delta = world.microsoft.graph.delta
    delta.switches = msgspec.structs.replace(delta.switches, **changed)
    return " ".join(name for name, value in changed.items() if value is True) or "delta answers plainly"


def expire_cursor(world: World) -> str:
    world.microsoft.graph.delta.expire()
    return "Graph forgets every delta link"


def graph_fault(chance: Random) -> Fault:
    path = chance.choice([DELTA, DELTA, GRAPH, "*/oauth2/v2.0/token", "/v1.0/groups/*"])
    times = chance.choice([1, 2, 4, 5, 9])
    skip = chance.choice([0, 0, 1, 2, 3])
    kind = chance.choice(["429", "429_long", "503", "500", "drop", "truncate", "reset", "403"])
    if kind.startswith("429"):
        wait = "120" if kind == "429_long" else "0"
        return Fault("status", path=path, skip=skip, times=times, status=429, headers={"Retry-After": wait})
    if kind in {"503", "500", "403"}:
        return Fault("status", path=path, skip=skip, times=times, status=int(kind))
    if kind == "truncate":
        return Fault("truncate", path=path, skip=skip, times=times, bytes=chance.choice([0, 40, 300]))
    return Fault(kind, path=DELTA if kind == "reset" else path, skip=skip, times=times)


def pbx_fault(chance: Random) -> Fault:
    path = f"{API}/{chance.choice([*WRITES, *PBX_PATHS])}"
    times = chance.choice([1, 1, 2, 3, 5, 12])
    skip = chance.choice([0, 0, 1, 2, 3, 6])
    kind = chance.choice(["drop", "commit_then_drop", "commit_then_drop", "truncate", "502", "errcode", "after"])
    if kind == "502":
        return Fault("status", path=path, skip=skip, times=times, status=502)
    if kind in {"errcode", "after"}:
        codes = [70082, 70082, 60002, 10004, -2, -1, 70087, 40002, 1]
        if path.endswith(("token", "*")):
            codes = [70082, -2, 70087]  # any other refusal of a sign-in means that the credentials are wrong
        code = chance.choice(codes if kind == "errcode" else [-2, -2, 1])
        name = "errcode" if kind == "errcode" else "errcode_after_commit"
        return Fault(name, path=path, skip=skip, times=times, options={"errcode": code})
    if kind == "truncate":
        return Fault("truncate", path=path, skip=skip, times=times, bytes=chance.choice([0, 10]))
    return Fault(kind, path=path, skip=skip, times=times)


def storm(world: World, gate: Gate, chance: Random) -> str:
    """Plant what will break in the next run."""
    words: list[str] = []
    for _ in range(chance.choice([1, 1, 2, 3])):
        draw = chance.random()
        if draw < 0.3:
            fault = graph_fault(chance)
            world.microsoft.faults.append(fault)
        elif draw < 0.8:
            fault = pbx_fault(chance)
            world.pbx.faults.append(fault)
        else:
            words.append(storage_fault(gate, chance))
            continue
        details = f"{fault.status} " if fault.kind == "status" else f"{fault.options} " if fault.options else ""
        words.append(f"{fault.kind} {details}at {fault.path} skip {fault.skip} times {fault.times}")
    return "; ".join(words)


def storage_fault(gate: Gate, chance: Random) -> str:
    gate.storage_fails_after = chance.randint(0, 40)
    gate.storage_failures = chance.choice([1, 1, 2, 30])
    gate.carries_out = chance.random() < 0.5
    late = "carried out, " if gate.carries_out else ""
    return f"storage: {late}{gate.storage_failures} requests fail after {gate.storage_fails_after}"


def kill(gate: Gate, chance: Random, behind: str | None = None) -> str:
    """Kill the run at some request, or at one of the first to the path ``behind`` on the PBX."""
    gate.carries_out = chance.random() < 0.5
    gate.kill_behind = chance.choice(["", "", *WRITES]) if behind is None else behind
    gate.kill_after = chance.randint(0, 2 if gate.kill_behind else 70)
    where = f"{gate.kill_behind} {gate.kill_after}".strip()
    return f"killed at request {where}{', which is carried out' if gate.carries_out else ''}"


def lose_updates(world: World) -> str:
    """Updates are carried out, and nobody hears of it."""
    world.pbx.faults.append(Fault("commit_then_drop", path=f"{API}/extension/update", times=12))
    return "answers to updates are lost"


def clear(world: World, gate: Gate) -> None:
    world.microsoft.faults.clear()
    world.pbx.faults.clear()
    gate.open()
