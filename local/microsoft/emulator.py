"""The emulator itself: puts the parts together and holds their content."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import msgspec
from aiohttp import web

from local import sample
from local.emulator import Emulator, Handler
from local.microsoft import contents
from local.microsoft.applications import Organization
from local.microsoft.apps import GRAPH
from local.microsoft.authorize import SignIn
from local.microsoft.control import Control
from local.microsoft.control_notifications import NotificationControl
from local.microsoft.control_sign_in import SignInControl
from local.microsoft.delivery import Postman
from local.microsoft.directory import Directory
from local.microsoft.entra import Authority
from local.microsoft.grants import Grants
from local.microsoft.graph import GraphService
from local.microsoft.id_tokens import IdTokens
from local.microsoft.identity import IdentityEndpoint
from local.microsoft.keys import KeyRing
from local.microsoft.me import Me, UserInfo
from local.microsoft.messages import VERSION_ROOT
from local.microsoft.notifications import Notifications
from local.microsoft.presence import PresenceContent, Presences
from local.microsoft.presence_calls import PresenceCalls
from local.microsoft.presence_control import PresenceControl
from local.microsoft.presence_day import CompanyDay
from local.microsoft.presence_forgeries import ValidationTokens
from local.microsoft.presence_meter import PresenceMeter
from local.microsoft.presence_notifications import PresenceNotifications
from local.microsoft.registration import Consent, sample_registration
from local.microsoft.sign_in_content import SignInContent, split
from local.microsoft.subscription_calls import SubscriptionCalls
from local.microsoft.subscriptions import Subscriptions
from local.microsoft.tokens import TokenService
from local.microsoft.transport import Transport
from local.microsoft.vault import Vault
from local.sample import Tenant, sample_tenant
from local.tls import ServerCertificate


class MicrosoftEmulator(Emulator):
    """Microsoft Entra ID, Microsoft Graph, Key Vault secrets and the managed-identity endpoint of one tenant.

    Own faults: ``reset`` answers a delta request as if its token had expired (``options``: ``{"answer": "410"}``, one
    of ``delta.ResetAnswer``); ``batch_item`` answers one item of a ``$batch`` with ``status``, ``headers`` and
    ``body`` (``options``: ``{"url": "/users/*", "method": "GET"}``).

    ``trusted`` is a PEM file with the authorities that vouch for the endpoints of subscribers.
    """

    name = "the Microsoft emulator"
    own_faults = frozenset({"reset", "batch_item"})

    def __init__(
        self, tenant: Tenant | None = None, *, page_size: int | None = None, trusted: Path | None = None
    ) -> None:
        super().__init__()
        self._tenant = tenant if tenant is not None else sample_tenant()
        self._page_size = page_size
        self.keys = KeyRing()
        self.postman = Postman(self.clock, Transport(self.clock, trusted))
        self._control = Control(self)
        self._notification_control = NotificationControl(self)
        self._sign_in_control = SignInControl(self)
        self._presence_control = PresenceControl(self)
        self.day = CompanyDay(self.clock)
        self.reset()
        self.clock.watchers.append(self._clock_moved)

    def reset(self) -> None:
        tenant = self._tenant
        directory = Directory(self.clock.now)
        contents.fill_from_sample(directory, tenant)
        self._build(contents.TenantContent(tenant.id, tenant.display_name, list(tenant.domains)), directory, KeyRing())
        self.presences.fill(directory)
        app = contents.sample_app(tenant.id)
        app.registration, app.consent = sample_registration(), Consent(organization=list(sample.DELEGATED))
        present = [identifier for identifier in sample.ADMINISTRATORS if identifier in directory.entities]
        self.sign_in.content.switches.administrators = present
        self.authority.apps[app.client_id] = app
        self.identity.identity = contents.sample_identity()
        if self._page_size is not None:
            self.graph.delta.switches.page_size = self._page_size
        self.open_vault()

    def state(self) -> Any:
        delta = self.graph.delta
        content = contents.Content(
            tenant=self._tenant_content,
            apps=list(self.authority.apps.values()),
            identity=self.identity.identity,
            keys=self.keys.state(),
            used_assertions=self.authority.assertions.used,
            directory=contents.directory_content(self.directory),
            delta=contents.DeltaContent(delta.switches, delta.tokens, delta.epoch),
            notifications=contents.NotificationContent(self.postman.switches, self.subscriptions.live()),
            presence=self.presences.content,
            page_tokens=self.graph.pager.tokens,
            throttle=self.graph.bucket.settings,
            vault=self.vault.secrets,
        )
        return {**msgspec.to_builtins(content), "sign_in": msgspec.to_builtins(self.sign_in.content)}

    def load(self, state: Any) -> None:
        rest, signed_in = split(state)
        content = contents.read(rest)
        directory, keys = Directory(self.clock.now), KeyRing()
        contents.fill(directory, content.directory)
        keys.load(content.keys)
        self._build(content.tenant, directory, keys, signed_in, content.presence)
        self.authority.apps.update({app.client_id: app for app in content.apps})
        self.authority.assertions.used = content.used_assertions
        self.identity.identity = content.identity
        delta = self.graph.delta
        delta.switches, delta.tokens, delta.epoch = content.delta.switches, content.delta.tokens, content.delta.epoch
        self.directory.delete_groups_softly = delta.switches.delete_groups_softly
        self.postman.switches = content.notifications.switches
        self.subscriptions.load(content.notifications.subscriptions)
        self.graph.pager.tokens = content.page_tokens
        self.graph.bucket.settings = content.throttle
        self.vault.secrets = content.vault
        self.open_vault()

    def open_vault(self) -> None:
        """Let in the apps that have a role on the vault."""
        allowed = {app.client_id for app in self.authority.apps.values() if app.vault_access}
        identity = self.identity.identity
        self.vault.allowed = allowed | ({identity.client_id} if identity.vault_access else set())

    def token_for(self, *roles: str, resource: str = GRAPH) -> str:
        """A valid access token of the sample app with just these roles."""
        app = next(iter(self.authority.apps.values()))
        return self.tokens.for_app(msgspec.structs.replace(app, roles=list(roles)), resource)

    def routes(self) -> list[web.RouteDef]:
        authority = "/{tenant}"
        return [
            *self._control.routes(),
            *self._notification_control.routes(),
            *self._sign_in_control.routes(),
            *self._presence_control.routes(),
            web.route("*", VERSION_ROOT + "/{tail:.*}", self._graph),
            web.route("*", "/secrets{tail:.*}", _late(lambda: self.vault.answer)),
            web.route("*", "/deletedsecrets{tail:.*}", _late(lambda: self.vault.answer)),
            web.get("/msi/token", _late(lambda: self.identity.token)),
            web.post(authority + "/oauth2/v2.0/token", _late(lambda: self.authority.token)),
            web.get(authority + "/v2.0/.well-known/openid-configuration", _late(lambda: self.authority.discovery)),
            web.get(authority + "/discovery/v2.0/keys", _late(lambda: self.authority.published_keys)),
            web.get(authority + "/discovery/keys", _late(lambda: self.authority.published_keys)),
            web.get(authority + "/oauth2/v2.0/authorize", _late(lambda: self.sign_in.authorize)),
            web.post(authority + "/oauth2/v2.0/authorize", _late(lambda: self.sign_in.authorize)),
            web.get(authority + "/v2.0/adminconsent", _late(lambda: self.sign_in.admin_consent)),
            web.get(authority + "/adminconsent", _late(lambda: self.sign_in.admin_consent)),
            web.get(authority + "/login", _late(lambda: self.sign_in.search)),
            web.post(authority + "/login", _late(lambda: self.sign_in.choose)),
            web.post(authority + "/consent", _late(lambda: self.sign_in.consent)),
            web.get(authority + "/oauth2/v2.0/logout", _late(lambda: self.sign_in.logout)),
            web.post(authority + "/oauth2/v2.0/logout", _late(lambda: self.sign_in.logout)),
            web.get("/oidc/userinfo", _late(lambda: self.user_info.answer)),
            web.post("/oidc/userinfo", _late(lambda: self.user_info.answer)),
        ]

    async def start(self, certificate: ServerCertificate | None, host: str = "127.0.0.1", port: int = 0) -> Self:
        await self.postman.open()
        try:
            await super().start(certificate, host, port)
        except BaseException:
            await self.postman.close()
            raise
        self.identity.issuer_origin = self.url
        return self

    async def stop(self) -> None:
        self.day.stop()
        await self.postman.close()
        await super().stop()

    def _clock_moved(self) -> None:
        """Subscribers hear of what time purges without anybody asking for it."""
        self.directory.sweep()

    async def _graph(self, request: web.Request) -> web.Response:
        reset = self.take_fault(request, "reset")
        return await self.graph.respond(request, await request.read(), self.faults, reset)

    def _build(
        self,
        tenant: contents.TenantContent,
        directory: Directory,
        keys: KeyRing,
        signed_in: SignInContent | None = None,
        presence: PresenceContent | None = None,
    ) -> None:
        self._tenant_content = tenant
        self.directory = directory
        self.keys = keys
        self.tokens = TokenService(self.clock, keys, tenant.id)
        self.authority = Authority(self.clock, keys, self.tokens)
        self.authority.domains = tenant.domains
        self.id_tokens = IdTokens(self.clock, keys, directory, tenant.id)
        grants = Grants(self.clock, directory, self.tokens, self.id_tokens, signed_in or SignInContent())
        self.authority.grants |= {"authorization_code": grants.redeem, "refresh_token": grants.refresh}
        self.sign_in = SignIn(self.clock, directory, self.authority, grants)
        self.user_info = UserInfo(directory, self.tokens)
        self.postman.clear()
        self.subscriptions = Subscriptions(self.clock, tenant.id, self.postman)
        self.postman.is_known = self.subscriptions.is_known
        directory.on_change = Notifications(self.clock, tenant.id, self.subscriptions, self.postman).changed
        self._build_presence(tenant.id, presence)
        organization = Organization(tenant.id, tenant.display_name, tenant.domains)
        self.graph = GraphService(
            clock=self.clock,
            tokens=self.tokens,
            directory=directory,
            apps=self.authority.apps,
            organization=organization,
            extra=(
                *SubscriptionCalls(self.clock, directory, self.presences, self.subscriptions, self.postman).routes(),
                *PresenceCalls(directory, self.presences, PresenceMeter(self.clock, self.presences)).routes(),
                *Me(directory).routes(),
            ),
        )
        self.vault = Vault(self.clock, self.tokens)
        self.identity = IdentityEndpoint(self.clock, self.tokens, contents.sample_identity())
        self.identity.issuer_origin = self.url

    def _build_presence(self, tenant_id: str, content: PresenceContent | None) -> None:
        self.day.stop()
        self.presences = Presences(self.clock, content)
        tokens = ValidationTokens(self.clock, self.keys, tenant_id, lambda: self.url)
        self.presence_notifications = PresenceNotifications(
            tenant_id=tenant_id,
            presences=self.presences,
            subscriptions=self.subscriptions,
            postman=self.postman,
            tokens=tokens,
        )
        self.presences.on_change = self.presence_notifications.changed
        self.postman.complete = self.presence_notifications.complete
        self.postman.forgeries = self.presence_notifications.forgeries


def _late(find: Callable[[], Handler]) -> Handler:
    """A handler that is looked up at each request: ``reset`` and ``load`` make new parts."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return await find()(request)

    return handler
