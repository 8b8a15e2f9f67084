"""The PBX itself, without any HTTP: its content, settings and clock."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from local.emulator import Clock
from local.pbx.answers import Errcode, Payload, Refused
from local.pbx.directory import Author, Change, Directory, Extension
from local.pbx.firmware import Firmware
from local.pbx.groups import Group, Groups
from local.pbx.security import Application, BlockedIps
from local.pbx.settings import Capacity, Settings
from local.pbx.tokens import Token, Tokens
from local.pbx.webhooks import Event, Webhooks, extension_changed, presence_changed

type Commit = Callable[[], Payload]
"""The second half of a write: what was checked becomes content."""


class Email(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mail that the PBX sent: a welcome mail to an extension, or a message through system/sendemail."""

    at: str
    kind: Literal["welcome", "message"]
    recipients: tuple[str, ...]
    extension_id: int | None = None
    subject: str = ""
    body: str = ""
    options: dict[str, Any] = {}
    """The further members of system/sendemail as they came."""


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole content, for ``/_control/state``. ``test_only_secrets`` of an extension are passwords in clear."""

    application: Application
    extensions: tuple[Extension, ...]
    next_id: int
    groups: tuple[Group, ...]
    next_group_id: int
    capacity: Capacity
    firmware: Firmware
    settings: Settings
    webhooks: Webhooks
    tokens: tuple[Token, ...]
    failed_authentications: dict[str, int]
    blocked_until: dict[str, float]
    emails: tuple[Email, ...]


@dataclass(frozen=True, slots=True)
class Pending:
    """A write that was answered with errcode 2 and is committed at ``due``."""

    due: float
    plan: Callable[[], Commit]


class Machine:
    """Everything that endpoints work on."""

    def __init__(self, clock: Clock, application: Application) -> None:
        self.clock = clock
        self.started = clock.time()
        self.application = application
        self.publish: Callable[[Event], None] = lambda _: None
        """Told of every event."""
        self.fill(Directory())
        self.groups = Groups()
        self.capacity = Capacity()
        self.firmware = Firmware()
        self.settings = Settings()
        self.webhooks = Webhooks()
        self.tokens = Tokens()
        self.blocked = BlockedIps()
        self.emails: list[Email] = []
        self.pending: list[Pending] = []

    def extension(self, number: int) -> Extension:
        """The extension with the id ``number``; refused with 60001 when there is none."""
        extension = self.directory.get(number)
        if extension is None:
            raise Refused(Errcode.NOT_FOUND)
        return extension

    def group(self, number: int) -> Group:
        """The extension group with the id ``number``; refused with 60001 when there is none."""
        group = self.groups.get(number)
        if group is None:
            raise Refused(Errcode.NOT_FOUND)
        return group

    def fill(self, directory: Directory) -> None:
        """Take over all extensions of ``directory``; nothing of that is an event."""
        self.directory = directory
        directory.watcher = self._extension_changed

    def full(self) -> bool:
        return len(self.directory) >= self.capacity.extensions

    def postpone(self, plan: Callable[[], Commit]) -> None:
        """Check a write now, commit it when ``in_progress_seconds`` have passed."""
        plan()
        self.pending.append(Pending(self.clock.time() + self.firmware.in_progress_seconds, plan))

    def settle(self) -> None:
        """Commit what is due; what no longer passes its checks is lost, and nobody is told."""
        now = self.clock.time()
        due = [pending for pending in self.pending if pending.due <= now]
        self.pending = [pending for pending in self.pending if pending.due > now]
        for pending in due:
            _commit_quietly(pending.plan)

    def send(self, email: Email) -> None:
        self.emails.append(email)

    def state(self) -> State:
        self.settle()
        return State(
            application=self.application,
            extensions=tuple(self.directory),
            next_id=self.directory.next_id,
            groups=tuple(self.groups),
            next_group_id=self.groups.next_id,
            capacity=self.capacity,
            firmware=self.firmware,
            settings=self.settings,
            webhooks=self.webhooks,
            tokens=tuple(self.tokens.pairs()),
            failed_authentications=dict(self.blocked.failures),
            blocked_until=dict(self.blocked.until),
            emails=tuple(self.emails),
        )

    def load(self, state: State) -> None:
        """Replace the content; members of groups have to exist, others are left out. ``ValueError`` changes nothing."""
        directory = Directory(state.extensions, state.next_id)
        self.groups = Groups((_existing(group, directory) for group in state.groups), state.next_group_id)
        self.fill(directory)
        self.application = state.application
        self.capacity = state.capacity
        self.firmware = state.firmware
        self.settings = state.settings
        self.webhooks = state.webhooks
        self.tokens = Tokens(state.tokens)
        self.blocked = BlockedIps(state.failed_authentications, state.blocked_until)
        self.emails = list(state.emails)
        self.pending = []

    def _extension_changed(
        self, change: Change, extension: Extension, author: Author, before: Extension | None
    ) -> None:
        if change == "DELETE":
            self.groups.forget(extension.id)
        if author == "api" and not self.firmware.api_writes_raise_events:
            return
        form, moved = self.firmware.event_message, before is not None and _presence(before) != _presence(extension)
        if moved and extension.monitor.enb_presence_status:
            self.publish(presence_changed(extension, form, self.firmware.serial_number))
        if self.firmware.presence_raises_edited or not moved or _but_presence(before) != _but_presence(extension):
            self.publish(extension_changed(extension.number, change, form))


def _presence(extension: Extension) -> tuple[str, str]:
    return extension.presence_status, extension.custom_presence_status


def _but_presence(extension: Extension | None) -> Extension | None:
    """The extension as if everybody were available."""
    if extension is None:
        return None
    return msgspec.structs.replace(extension, presence_status="available", custom_presence_status="")


def _existing(group: Group, directory: Directory) -> Group:
    members = tuple(member for member in group.members if directory.get(member.ext_id))
    return msgspec.structs.replace(group, members=members)


def _commit_quietly(plan: Callable[[], Commit]) -> None:
    try:
        plan()()
    except Refused:
        return
