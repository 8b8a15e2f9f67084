"""The switches: how this firmware behaves where PBXs differ or the vendor's guide is silent."""

from typing import Literal

import msgspec

from local.pbx.answers import Errcode

type WriteOutcome = Literal["complete", "partial", "in_progress"]
type GroupPaths = Literal["extensiongroup", "extension_group", "both", "none"]


class Firmware(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the machine is and which quirks it has. The defaults are the strict, documented behaviour."""

    device_name: str = "P-Series PBX"
    model: str = "P570"
    """``P520`` has no Open API: every endpoint answers ``no_api_errcode``."""
    firmware_version: str = "37.24.0.30"
    serial_number: str = "3631A2145678"
    hardware_version: str = "V1.00"
    no_api_errcode: Literal[10001, 70123] = 10001

    create_returns_id: bool = True
    """The page of extension/create shows no ``id`` in the answer; its siblings do."""
    unknown_parameters: Literal["ignore", "refuse"] = "ignore"
    """Query parameters that are not documented: always a violation, refused with 40001 only by ``refuse``."""
    error_skeleton: bool = False
    """Failures carry the payload's members with empty values."""
    lunch_as_launch: bool = False
    """Old firmware reports the presence ``lunch`` as ``launch``."""
    custom_presence_in: Literal["rows_and_details", "rows", "nothing"] = "rows_and_details"
    """Where ``custom_presence_status`` is shown: the guide has it in rows; old firmware does not know it."""
    rows_without_email: bool = False
    """Rows of extension/list and extension/search lack ``email_addr``."""
    wrong_credentials_errcode: int = Errcode.PARTIAL
    """1 was seen by one client; -1 is as likely."""
    block_seconds: int = 660
    """How long five failed authentications block the caller's address."""

    default_page_size: int = 10
    """Rows of a page when ``page_size`` is left out; not documented."""
    max_page_size: int = 10_000
    page_size_overflow: Literal["refuse", "clamp"] = "refuse"
    """What happens above ``max_page_size``."""
    max_query_ids: int | None = None
    """The most ids that a query for several objects takes, 40002 above; not documented."""

    read_latency_ms: float = 0.0
    write_latency_ms: float = 0.0
    busy: Literal["no", "writes", "all"] = "no"
    """70082: a backup or an import runs."""
    write_outcome: WriteOutcome = "complete"
    """``partial``: errcode 1, ``partial_members`` are not stored. ``in_progress``: errcode 2, committed later."""
    partial_members: tuple[str, ...] = ("mobile_number", "title")
    in_progress_seconds: float = 2.0
    """By the emulator's clock, from the answer with errcode 2 to the commit."""

    new_password_rules: bool = True
    """No four digits in a row up, down or equal; no number or name inside."""
    plus_addresses: bool = False
    """E-mail addresses with a plus sign are accepted."""
    umlauts: bool = True
    """Names may hold characters outside ASCII."""
    title_limit: int = 63
    """Characters of ``title``; the guide names no limit."""
    role_menu: str = ""
    """The family under which get_menuoptions lists user roles, whose documented spelling is not known."""

    extension_group_paths: GroupPaths = "extensiongroup"
    """How the paths of extension groups are spelled: the vendor's pages say the first, several clients the second, and
    firmware up to 37.23 has neither. 10001 for what is not there."""
    group_create_returns_id: bool = True
    """As with extensions, no page shows it."""
    group_rename: Literal["accepted", "refused", "ignored"] = "accepted"
    """``name`` is not among the documented members of an update. ``ignored``: a success, and the name stays."""
    group_rename_errcode: int = Errcode.SYNTAX
    group_empty_members: Literal["accepted", "refused"] = "accepted"
    """A membership of nobody; 40002 when refused."""

    api_writes_raise_events: bool = True
    """Whether events 30009 and 30022 tell what was written through the Open API, too; what is done by hand always
    raises them."""
    presence_raises_edited: bool = True
    """Whether another presence alone raises 30022, too; the guide does not say."""
    event_message: Literal["text", "object"] = "text"
    """``msg`` of an event: JSON inside a string as in the vendor's samples, or a plain object."""
