"""The emulator's whole content as JSON-able data: written for ``GET /_control/state``, read back strictly."""

from typing import Any

import msgspec

from local import sample
from local.microsoft.apps import THIS_AUTHORITY, App, FederatedCredential, ManagedIdentity, Secret
from local.microsoft.delta import DeltaToken, Switches
from local.microsoft.directory import Change, Directory, Entity
from local.microsoft.notification_switches import NotificationSwitches
from local.microsoft.pages import PageToken
from local.microsoft.presence import PresenceContent
from local.microsoft.subscriptions import Subscription
from local.microsoft.throttle import Throttle
from local.microsoft.vault import StoredSecret


class TenantContent(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    display_name: str
    domains: list[str]


class DirectoryContent(msgspec.Struct, forbid_unknown_fields=True):
    order: dict[str, list[str]]
    entities: list[Entity]
    log: dict[str, list[Change]]
    polls: dict[str, int]
    deleted: list[str]
    link_serial: int


class DeltaContent(msgspec.Struct, forbid_unknown_fields=True):
    switches: Switches
    tokens: dict[str, DeltaToken]
    epoch: int


class NotificationContent(msgspec.Struct, forbid_unknown_fields=True):
    """Notifications on their way are not content: they end when content is loaded."""

    switches: NotificationSwitches
    subscriptions: list[Subscription]


class Content(msgspec.Struct, forbid_unknown_fields=True):
    tenant: TenantContent
    apps: list[App]
    identity: ManagedIdentity
    keys: list[dict[str, str]]
    used_assertions: dict[str, float]
    directory: DirectoryContent
    delta: DeltaContent
    notifications: NotificationContent
    presence: PresenceContent
    page_tokens: dict[str, PageToken]
    throttle: Throttle
    vault: dict[str, StoredSecret]


def read(state: Any) -> Content:
    """``ValueError`` in plain words when ``state`` is not what ``GET /_control/state`` gives."""
    try:
        return msgspec.convert(state, Content)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def directory_content(directory: Directory) -> DirectoryContent:
    order = (identifier for kind in directory.order for identifier in directory.order[kind])
    return DirectoryContent(
        order=directory.order,
        entities=[directory.entities[identifier] for identifier in order if identifier in directory.entities],
        log=directory.log,
        polls=directory.polls,
        deleted=list(directory.deleted),
        link_serial=directory.link_serial,
    )


def fill(directory: Directory, content: DirectoryContent) -> None:
    """Put saved content into an empty directory."""
    for entity in content.entities:
        directory.add(entity)
    if set(content.deleted) != set(directory.deleted):
        raise ValueError("directory.deleted does not name the deleted entities")
    placed = {identifier for kind in content.order for identifier in content.order[kind]}
    if missing := set(directory.entities) - placed:
        raise ValueError(f"directory.order does not place {sorted(missing)[0]}")
    if set(content.order) != set(directory.order) or set(content.log) != set(directory.log):
        raise ValueError("directory.order or directory.log misses a kind of object")
    directory.adopt(content.order, content.log, content.polls, content.deleted, content.link_serial)


def fill_from_sample(directory: Directory, tenant: sample.Tenant) -> None:
    """Put a sample tenant into an empty directory."""
    for kind, items in (("user", tenant.users), ("group", tenant.groups)):
        for item in items:
            properties = sample.properties(item)
            directory.add(Entity(item.id, kind, properties, directory.now() if item.id in tenant.deleted else None))
    for device in tenant.devices:
        directory.add(Entity(device.id, device.kind, {"id": device.id, "displayName": device.display_name}))
    for relation, joined in (("members", tenant.members), ("owners", tenant.owners)):
        for identifier, linked in joined.items():
            directory.join(directory.entities[identifier], relation, linked)


def sample_app(tenant_id: str) -> App:
    """The registration of the product, with a valid and an expired secret, trusting the managed identity."""
    return App(
        client_id=sample.CLIENT_ID,
        object_id=sample.APP_OBJECT_ID,
        service_principal_id=sample.SERVICE_PRINCIPAL_ID,
        display_name="Entra Bridge (sample)",
        secrets=[
            _secret("55555555-0001-4555-8555-555555555555", sample.EXPIRED_CLIENT_SECRET, "2023-11-01", "2025-11-01"),
            _secret("55555555-0002-4555-8555-555555555555", sample.CLIENT_SECRET, "2025-10-01", "2099-12-31"),
        ],
        federated=[
            FederatedCredential(
                name="managed-identity",
                issuer=f"{THIS_AUTHORITY}/{tenant_id}/v2.0",
                subject=sample.IDENTITY_PRINCIPAL_ID,
            )
        ],
        roles=list(sample.ROLES),
    )


def sample_identity() -> ManagedIdentity:
    return ManagedIdentity(
        client_id=sample.IDENTITY_CLIENT_ID,
        principal_id=sample.IDENTITY_PRINCIPAL_ID,
        header=sample.IDENTITY_HEADER,
        roles=list(sample.ROLES),
    )


def _secret(key_id: str, text: str, start: str, end: str) -> Secret:
    dates = {"start": f"{start}T00:00:00Z", "end": f"{end}T00:00:00Z"}
    return msgspec.convert({"key_id": key_id, "secret": text, "display_name": f"until {end}", **dates}, Secret)
