"""Microsoft Graph: reads of the directory, and the subscriptions that announce its changes, our only writes.

msgraph-sdk builds URLs and carries the middleware; answers are taken as bytes and decoded by msgspec, because the SDK's
own models cost seconds of processor time a page. One place repeats requests: here, bounded, by Graph's ``Retry-After``.
"""

import base64
import binascii
import datetime
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import batched
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from graph.answers import decoded, typed
from graph.credentials import ApplicationCredential, tenant_of
from graph.errors import BadRequest, ConsentMissing, NotFound, ResyncRequired, Retry, Throttled, Unavailable
from graph.models import (
    FOUND_GROUP_SELECT,
    FOUND_USER_SELECT,
    GROUP_SELECT,
    AppRegistration,
    FoundGroup,
    FoundGroups,
    FoundUser,
    FoundUsers,
    Group,
    GroupPage,
    MemberPage,
    Organizations,
    Subscription,
    SubscriptionPage,
    User,
    UserPage,
)
from graph.subscriptions import NewSubscription, Refusal, missing, refused, renewal

if TYPE_CHECKING:
    import httpx
    from kiota_abstractions.method import Method
    from kiota_abstractions.request_information import RequestInformation
    from msgraph.generated.groups.delta.delta_request_builder import DeltaRequestBuilder as GroupDelta
    from msgraph.generated.groups.groups_request_builder import GroupsRequestBuilder
    from msgraph.generated.subscriptions.item.subscription_item_request_builder import SubscriptionItemRequestBuilder
    from msgraph.generated.subscriptions.subscriptions_request_builder import SubscriptionsRequestBuilder
    from msgraph.generated.users.delta.delta_request_builder import DeltaRequestBuilder as UserDelta
    from msgraph.generated.users.users_request_builder import UsersRequestBuilder
    from msgraph.graph_request_adapter import GraphRequestAdapter
    from msgraph.graph_service_client import GraphServiceClient

ATTEMPTS = 5
MAX_PAUSE_SECONDS = 60.0
"""A longer ``Retry-After`` is not slept through: the run stops and continues later."""
TIMEOUT_SECONDS = 60.0
CONNECT_SECONDS = 10.0
NATIONAL_HOSTS = {"graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn"}
MEMBERS_TOP = 999
IDS_A_FILTER = 15
"""Values in an ``in`` list (https://learn.microsoft.com/graph/filter-query-parameter)."""
SEARCH_CHARACTERS = 120
"""Of a searched text: with advanced queries a URL has 2,048 characters at most, and one character may take twelve."""


class Graph:
    """Microsoft Graph as one application sees it. Close it, or use it as an asynchronous context manager.

    Every method raises the errors of ``graph.errors`` and nothing else.
    """

    def __init__(self, base_url: str, credential: ApplicationCredential) -> None:
        self._base_url = base_url
        self._credential = credential
        self._adapter: GraphRequestAdapter | None = None
        self._client: GraphServiceClient | None = None
        self._transport: httpx.AsyncHTTPTransport | None = None
        self.requests = 0

    def user_pages(self, select: Sequence[str], link: str | None = None) -> AsyncIterator[UserPage]:
        """The pages of ``users/delta``: the whole directory, or what changed since the delta link ``link``.

        The last page carries the next delta link. ``ResyncRequired`` when ``link`` is no longer good, or when it leads
        to another host than the configured one. An entry may come several times; the last one counts.
        """
        return self._delta_pages(lambda: self._open().users.delta, UserPage, select, link)

    def group_pages(self, select: Sequence[str] = GROUP_SELECT, link: str | None = None) -> AsyncIterator[GroupPage]:
        """The pages of ``groups/delta``, by the rules of ``user_pages``.

        A large group recurs on several pages, each time with other members: they add up to the end of the round.
        """
        return self._delta_pages(lambda: self._open().groups.delta, GroupPage, select, link)

    async def _delta_pages[P: (UserPage, GroupPage)](
        self, builder: "Callable[[], UserDelta | GroupDelta]", kind: type[P], select: Sequence[str], link: str | None
    ) -> AsyncIterator[P]:
        if link is not None and not same_host(self._base_url, link):
            raise ResyncRequired("the stored delta link leads to another host than the configured one; it was dropped")
        following = link
        while True:
            page = await self._decode(_delta_request(builder(), select, following), kind)
            following = page.delta_link or page.next_link
            if following is None:
                raise Unavailable("Graph's page of a delta round carries neither a next link nor a delta link")
            self._own(following)
            yield page
            if page.delta_link is not None:
                return

    async def user(self, object_id: str, select: Sequence[str]) -> User | None:
        """One user; ``None`` when it does not exist or is soft-deleted."""
        from kiota_abstractions.base_request_configuration import RequestConfiguration
        from msgraph.generated.users.item.user_item_request_builder import UserItemRequestBuilder

        query = UserItemRequestBuilder.UserItemRequestBuilderGetQueryParameters(select=list(select))
        builder = self._open().users.by_user_id(object_id)
        info = builder.to_get_request_information(RequestConfiguration(query_parameters=query))
        try:
            return await self._decode(info, User)
        except NotFound:
            return None

    async def group(self, object_id: str) -> Group | None:
        """One group without its members; ``None`` when it does not exist or is soft-deleted."""
        from kiota_abstractions.base_request_configuration import RequestConfiguration
        from msgraph.generated.groups.item.group_item_request_builder import GroupItemRequestBuilder

        select = [name for name in GROUP_SELECT if name != "members"]
        query = GroupItemRequestBuilder.GroupItemRequestBuilderGetQueryParameters(select=select)
        builder = self._open().groups.by_group_id(object_id)
        try:
            return await self._decode(
                builder.to_get_request_information(RequestConfiguration(query_parameters=query)), Group
            )
        except NotFound:
            return None

    async def transitive_user_ids(self, group_id: str) -> AsyncIterator[str]:
        """The object ids of all users in a group and in the groups nested in it; ``NotFound`` without the group."""
        from kiota_abstractions.base_request_configuration import RequestConfiguration
        from msgraph.generated.groups.item.transitive_members.graph_user.graph_user_request_builder import (
            GraphUserRequestBuilder,
        )

        query = GraphUserRequestBuilder.GraphUserRequestBuilderGetQueryParameters(
            select=["id"], count=True, top=MEMBERS_TOP
        )
        builder = self._open().groups.by_group_id(group_id).transitive_members.graph_user
        configuration = RequestConfiguration(query_parameters=query)
        configuration.headers.add("ConsistencyLevel", "eventual")  # the cast is an advanced query
        info = builder.to_get_request_information(configuration)
        while True:
            page = await self._decode(info, MemberPage)
            for member in page.value:
                yield member.id
            if page.next_link is None:
                return
            info = builder.with_url(self._own(page.next_link)).to_get_request_information()
            info.headers.add("ConsistencyLevel", "eventual")  # links do not carry headers over

    async def search_groups(self, text: str, top: int) -> list[FoundGroup]:
        """At most ``top`` groups of the tenant with a word in their name that begins with ``text``; without one, any.

        What was made in the last moments may be missing: the index behind ``$search`` follows the directory
        (https://learn.microsoft.com/graph/aad-advanced-queries).
        """
        info = _listing(self._open().groups, FOUND_GROUP_SELECT, top, search=_clauses(("displayName",), text))
        return (await self._decode(info, FoundGroups)).value

    async def search_users(self, text: str, top: int) -> list[FoundUser]:
        """At most ``top`` users whose name, user principal name or address has a word that begins with ``text``; by the
        rules of ``search_groups``."""
        search = _clauses(("displayName", "userPrincipalName", "mail"), text)
        info = _listing(self._open().users, FOUND_USER_SELECT, top, search=search)
        return (await self._decode(info, FoundUsers)).value

    async def groups_by_id(self, group_ids: Sequence[str]) -> list[FoundGroup]:
        """The groups with these object ids, as far as they exist; one request for each 15. The ids have to be GUIDs."""
        found: list[FoundGroup] = []
        for some in batched(group_ids, IDS_A_FILTER, strict=False):
            wanted = ",".join(f"'{group_id}'" for group_id in some)
            info = _listing(self._open().groups, FOUND_GROUP_SELECT, len(some), where=f"id in ({wanted})")
            found += (await self._decode(info, FoundGroups)).value
        return found

    async def tenant_name(self) -> str:
        """The display name of the tenant; empty when we may not read it (Organization.Read.All)."""
        from kiota_abstractions.base_request_configuration import RequestConfiguration
        from msgraph.generated.organization.organization_request_builder import OrganizationRequestBuilder

        query = OrganizationRequestBuilder.OrganizationRequestBuilderGetQueryParameters(select=["id", "displayName"])
        info = self._open().organization.to_get_request_information(RequestConfiguration(query_parameters=query))
        try:
            found = (await self._decode(info, Organizations)).value
        except ConsentMissing:
            return ""
        return next((one.display_name or "" for one in found), "")

    async def app_registration(self, client_id: str) -> AppRegistration | None:
        """The app registration with its credentials' ends; ``None`` when we may not read it (Application.Read.All)."""
        from kiota_abstractions.base_request_configuration import RequestConfiguration
        from msgraph.generated.applications_with_app_id.applications_with_app_id_request_builder import (
            ApplicationsWithAppIdRequestBuilder,
        )

        query = ApplicationsWithAppIdRequestBuilder.ApplicationsWithAppIdRequestBuilderGetQueryParameters(
            select=["id", "appId", "passwordCredentials", "keyCredentials"]
        )
        builder = self._open().applications_with_app_id(client_id)
        info = builder.to_get_request_information(RequestConfiguration(query_parameters=query))
        try:
            return await self._decode(info, AppRegistration)
        except (ConsentMissing, NotFound):
            return None

    async def tenant_id(self) -> str:
        """The object id of the tenant that our own token is for; empty when the token does not say it.

        Settings may name a tenant by one of its domains; notifications name it by this id. It costs a request only
        when no token is at hand.
        """
        # Asked for as the SDK asks, whose tokens azure-identity keeps apart from others.
        return tenant_of((await self._credential.get_token(self._scope(), enable_cae=True)).token)

    async def permissions(self) -> list[str]:
        """The application permissions in our own token, in order; by the rules of ``tenant_id``."""
        return sorted(_roles_of((await self._credential.get_token(self._scope(), enable_cae=True)).token))

    async def subscribe(self, new: NewSubscription) -> Subscription:
        """Have changes announced. Graph calls both addresses before it answers, so they have to be served meanwhile.

        ``SubscriptionExists``, ``HandshakeFailed`` or ``QuotaReached`` when Graph makes none, ``NotFound`` when the
        resource names somebody who does not exist. ``Unavailable``: it may have made it; nothing is sent twice, look at
        ``subscriptions`` before the next attempt.
        """
        from kiota_abstractions.method import Method

        info = _body_request(self._open().subscriptions, Method.POST, new.body())
        return decoded(await self._carry_out(info, repeats=_is_throttled, refusal=refused), Subscription)

    async def renew_subscription(self, subscription_id: str, expires: datetime.datetime) -> Subscription:
        """Have a subscription end at ``expires``; ``NotFound`` when it ended before. It is reauthorized by this too."""
        from kiota_abstractions.method import Method

        builder = self._open().subscriptions.by_subscription_id(subscription_id)
        return await self._decode(_body_request(builder, Method.PATCH, renewal(expires)), Subscription, missing)

    async def subscriptions(self) -> list[Subscription]:
        """All subscriptions of this application in this tenant; in the name of a person those of the person, and of
        everybody where the person may read them."""
        builder = self._open().subscriptions
        info = builder.to_get_request_information()
        found: list[Subscription] = []
        while True:
            page = await self._decode(info, SubscriptionPage)
            found += page.value
            if page.next_link is None:
                return found
            info = builder.with_url(self._own(page.next_link)).to_get_request_information()

    async def delete_subscription(self, subscription_id: str) -> None:
        """End a subscription; one that is gone already is a success."""
        builder = self._open().subscriptions.by_subscription_id(subscription_id)
        try:
            await self._carry_out(builder.to_delete_request_information(), refusal=missing)
        except NotFound:
            return

    async def close(self) -> None:
        transport, self._transport, self._client, self._adapter = self._transport, None, None, None
        try:
            if transport is not None:
                # The client's own closing stops at msgraph_core's middleware, which leaves the connections open.
                await transport.aclose()
        finally:
            await self._credential.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _own(self, link: str) -> str:
        """``link`` if it leads to the Graph we are configured for: our token goes nowhere else."""
        if not same_host(self._base_url, link):
            raise BadRequest("a link of Graph's answer leads to another host; it was not followed")
        return link

    async def _decode[T](self, info: "RequestInformation", kind: type[T], refusal: Refusal = typed) -> T:
        async for attempt in _attempts(_passes_soon):
            with attempt:
                return decoded(await self._send(info, refusal), kind)
        raise AssertionError("unreachable: the last attempt raises")

    async def _carry_out(
        self,
        info: "RequestInformation",
        *,
        repeats: Callable[[BaseException], bool] | None = None,
        refusal: Refusal = typed,
    ) -> bytes:
        """The bytes of a success. ``repeats`` says after which failures to send again; any that passes, by default."""
        async for attempt in _attempts(repeats or _passes_soon):
            with attempt:
                return await self._send(info, refusal)
        raise AssertionError("unreachable: the last attempt raises")

    async def _send(self, info: "RequestInformation", refusal: Refusal = typed) -> bytes:
        import httpx
        from kiota_abstractions.native_response_handler import NativeResponseHandler
        from kiota_http.middleware.options import ResponseHandlerOption

        self._open()
        assert self._adapter is not None  # noqa: S101 - set by _open
        # The answer as it came: the SDK's reading of errors gives up at everything that is not Graph's own JSON.
        info.add_request_options([ResponseHandlerOption(response_handler=NativeResponseHandler())])
        self.requests += 1
        try:
            response: Any = await self._adapter.send_primitive_async(info, "bytes", None)
        except httpx.HTTPError as error:
            raise Unavailable(f"Graph cannot be reached ({type(error).__name__})") from None
        if not response.is_success:
            raise refusal(response.status_code, response.headers, response.content)
        return bytes(response.content)

    def _scope(self) -> str:
        return f"https://{_audience(urlsplit(self._base_url).hostname or '')}/.default"

    def _open(self) -> "GraphServiceClient":
        if self._client is None:
            self._client = self._make()
        return self._client

    def _make(self) -> "GraphServiceClient":
        import httpx
        from kiota_authentication_azure.azure_identity_authentication_provider import (
            AzureIdentityAuthenticationProvider,
        )
        from kiota_http.middleware.options import RedirectHandlerOption, RetryHandlerOption
        from msgraph.graph_request_adapter import GraphRequestAdapter
        from msgraph.graph_service_client import GraphServiceClient
        from msgraph_core import GraphClientFactory

        # Its INFO lines name every URL, with the delta tokens in them.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        host = urlsplit(self._base_url).hostname or ""
        provider = AzureIdentityAuthenticationProvider(self._credential, scopes=[self._scope()], allowed_hosts=[host])
        self._transport = httpx.AsyncHTTPTransport(verify=ssl.create_default_context(), proxy=_proxy(host))
        http = GraphClientFactory.create_with_default_middleware(
            client=httpx.AsyncClient(
                timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_SECONDS), transport=self._transport
            ),
            options={
                # Repeating is done in one place, here: the middleware leaves out half of what passes by itself.
                RetryHandlerOption.get_key(): RetryHandlerOption(should_retry=False),
                # Graph redirects none of our requests, and our token goes nowhere else.
                RedirectHandlerOption.get_key(): RedirectHandlerOption(should_redirect=False),
            },
        )
        self._adapter = GraphRequestAdapter(provider, client=http)
        self._adapter.base_url = self._base_url
        return GraphServiceClient(request_adapter=self._adapter)


def same_host(base_url: str, link: str) -> bool:
    """Whether two addresses have the same scheme, host and port."""
    try:
        return _origin(base_url) == _origin(link)
    except ValueError:  # no address at all
        return False


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _proxy(host: str) -> str | None:
    """The proxy that the environment names for ``host``."""
    return None if proxy_bypass(host) else getproxies().get("https")


def _audience(host: str) -> str:
    return host if host in NATIONAL_HOSTS else "graph.microsoft.com"


def _delta_request(delta: "UserDelta | GroupDelta", select: Sequence[str], link: str | None) -> "RequestInformation":
    from kiota_abstractions.base_request_configuration import RequestConfiguration

    if link is not None:
        return delta.with_url(link).to_get_request_information()
    query = delta.DeltaRequestBuilderGetQueryParameters(select=list(select))
    return delta.to_get_request_information(RequestConfiguration[Any](query_parameters=query))


def _listing(
    builder: "GroupsRequestBuilder | UsersRequestBuilder",
    select: Sequence[str],
    top: int,
    *,
    search: str | None = None,
    where: str | None = None,
) -> "RequestInformation":
    from kiota_abstractions.base_request_configuration import RequestConfiguration
    from msgraph.generated.groups.groups_request_builder import GroupsRequestBuilder

    # Both kinds have the same options.
    query = GroupsRequestBuilder.GroupsRequestBuilderGetQueryParameters(
        select=list(select), top=top, search=search, filter=where
    )
    configuration = RequestConfiguration[Any](query_parameters=query)
    if search is not None:
        configuration.headers.add("ConsistencyLevel", "eventual")  # a search is an advanced query
    return builder.to_get_request_information(configuration)


def _clauses(properties: Sequence[str], text: str) -> str | None:
    """The ``$search`` for ``text`` in any of these properties; ``None`` for a text without a word.

    Quotation marks and backslashes would end a clause: no word has them.
    """
    words = " ".join(text.replace('"', " ").replace("\\", " ").split())[:SEARCH_CHARACTERS]
    return " OR ".join(f'"{name}:{words}"' for name in properties) if words else None


def _roles_of(token: str) -> list[str]:
    """The ``roles`` claim of one of our own access tokens; by the rules of ``graph.credentials.tenant_of``."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims).roles
    except (binascii.Error, msgspec.DecodeError, ValueError):
        return []


class _Claims(msgspec.Struct, frozen=True):
    roles: list[str] = []


def _body_request(
    builder: "SubscriptionsRequestBuilder | SubscriptionItemRequestBuilder", method: "Method", body: bytes
) -> "RequestInformation":
    from kiota_abstractions.request_information import RequestInformation

    info = RequestInformation(method, builder.url_template, builder.path_parameters)
    info.headers.try_add("Accept", "application/json")
    info.set_stream_content(body, "application/json")
    return info


def _attempts(repeats: Callable[[BaseException], bool]) -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception(repeats), stop=stop_after_attempt(ATTEMPTS), wait=_pause, reraise=True
    )


def _is_throttled(error: BaseException) -> bool:
    """Refused before it was begun: the one failure after which a create may be sent again."""
    return isinstance(error, Throttled) and _passes_soon(error)


def _passes_soon(error: BaseException) -> bool:
    if not isinstance(error, Retry):
        return False
    return (getattr(error, "retry_after", None) or 0.0) <= MAX_PAUSE_SECONDS


_exponential = wait_random_exponential(multiplier=1, max=20)


def _pause(state: RetryCallState) -> float:
    """Graph's own wish, or growing random pauses when it names none."""
    error = state.outcome.exception() if state.outcome else None
    wish = getattr(error, "retry_after", None)
    return float(wish) if wish is not None else _exponential(state)
