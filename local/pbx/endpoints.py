"""What an endpoint is: a path with its verb, its documented input and the function that serves it.

A further family of endpoints is one more module with a list of these, named in ``local.pbx.dispatch``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.pbx.answers import Payload
from local.pbx.firmware import Firmware
from local.pbx.machine import Commit, Machine
from local.pbx.validation import Members, Parameters


@dataclass(frozen=True, slots=True)
class Call:
    """One admitted request with its checked input."""

    caller: str
    """The IP address."""
    token: str = ""
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reads:
    """The endpoint only reads, or concerns tokens."""

    answer: Callable[[Machine, Call], Payload]


@dataclass(frozen=True, slots=True)
class Writes:
    """The endpoint changes the PBX: ``plan`` checks the call and returns the commit."""

    plan: Callable[[Machine, Call], Commit]


def always(_: Firmware) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path with its verb."""

    method: str
    path: str
    """Below ``/openapi/v1.0``."""
    work: Reads | Writes
    parameters: Parameters = field(default_factory=Parameters)
    body: Members | None = None
    needs_token: bool = True
    skeleton: Mapping[str, Any] = field(default_factory=dict)
    """The payload's members with empty values, which some firmware leaves in a failure."""
    offered: Callable[[Firmware], bool] = always
    """Whether a firmware has it; 10001 otherwise, which is no violation."""
