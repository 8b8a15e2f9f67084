"""The envelope of every answer: HTTP 200 with ``errcode`` and ``errmsg``.

Codes and messages are the vendor's table:
https://help.yeastar.com/en/p-series-software-edition/developer-guide/error-code-and-error-message.html
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

type Payload = dict[str, Any]
type ProblemKind = Literal["transport", "endpoint", "parameter", "member", "value"]


class Errcode(enum.IntEnum):
    """The codes that this emulator gives."""

    SERVER_ERROR = -2
    FAILURE = -1
    SUCCESS = 0
    PARTIAL = 1
    PROCESSING = 2
    NO_ENDPOINT = 10001
    TOKEN_EXPIRED = 10004
    SYNTAX = 40001
    VALUE = 40002
    DUPLICATE = 40003
    NOT_FOUND = 60001
    LIMIT = 60002
    NO_ROLE = 60101
    IP_BLOCKED = 70004
    BUSY = 70082
    FORBIDDEN = 70084
    IP_NOT_PERMITTED = 70087
    REFERENCED = 70091
    NO_ORGANIZATIONS = 70120
    API_DISABLED = 70123


MESSAGES: Mapping[int, str] = {
    -2: "INTERNAL SERVER ERROR",
    -1: "FAILURE",
    0: "SUCCESS",
    1: "PARTIAL SUCCESS",
    2: "PROCESSING",
    10001: "INTERFACE NOT EXISTED",
    10002: "API VERSION OUT OF MAINTENANCE",
    10003: "API VERSION UNSUPPORTED",
    10004: "TOKEN EXPIRED",
    10005: "ACCESS DENIED",
    10009: "OPERATION FAILED",
    40001: "PARAMETER SYNTAX ERROR",
    40002: "PARAMETER ERROR",
    40003: "DUPLICATE KEY VALUE",
    40004: "FILE SIZE EXCEEDED",
    60001: "DATA NOT FOUND",
    60002: "MAX LIMITATION EXCEEDED",
    60101: "ROLE NOT EXISTED",
    70004: "ACCOUNT IP BLOCKED",
    70082: "OVERLOAD_TASK_RUNNING",
    70084: "ACTION FORBIDDEN",
    70087: "IP FORBIDDEN",
    70091: "CONNECTION_RELATION_EXISTED",
    70093: "PHONEBOOK_NOT_EXISTED",
    70120: "ORGANIZATION DISABLED",
    70123: "API DISABLED",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a request: becomes an entry of ``invalid_param_list``."""

    errcode: Errcode
    name: str
    value: str
    reason: str
    kind: ProblemKind | None
    """The kind of violation; ``None`` for what the caller could not know from the documentation."""

    def entry(self) -> dict[str, str]:
        return {"value": self.value, "name": self.name}


class Refused(Exception):
    """The request ends here with ``errcode``; ``payload`` are further members of the answer."""

    def __init__(
        self, errcode: int, problems: Iterable[Problem] = (), *, errmsg: str | None = None, **payload: object
    ) -> None:
        super().__init__(errcode)
        self.errcode = int(errcode)
        self.problems = tuple(problems)
        self.errmsg = errmsg
        self.payload = payload


def refusal(problems: list[Problem]) -> Refused:
    """The refusal for ``problems``: unreadable outranks syntax, and syntax outranks values."""
    for errcode in (Errcode.SERVER_ERROR, Errcode.SYNTAX, Errcode.VALUE):
        chosen = [problem for problem in problems if problem.errcode == errcode]
        if chosen:
            return Refused(errcode, chosen)
    return Refused(problems[0].errcode, problems)


def success(payload: Mapping[str, Any]) -> Payload:
    """A success; a payload may carry its own ``errcode``, as a partial success does."""
    errcode = int(payload.get("errcode", Errcode.SUCCESS))
    return {**payload, "errcode": errcode, "errmsg": message(errcode)}


def failure(refused: Refused, skeleton: Mapping[str, Any]) -> Payload:
    """A failure with the members of ``skeleton``, which some firmware leaves in."""
    answer: Payload = {"errcode": refused.errcode, "errmsg": refused.errmsg or message(refused.errcode)}
    if refused.problems:
        answer["invalid_param_list"] = [problem.entry() for problem in refused.problems]
    return {**skeleton, **answer, **refused.payload}


def message(errcode: int) -> str:
    return MESSAGES.get(errcode, "FAILURE")
