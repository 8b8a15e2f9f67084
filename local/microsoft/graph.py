"""Microsoft Graph v1.0: authentication, routing, throttling and the error envelope around every call."""

import uuid
from collections.abc import Mapping
from email.utils import formatdate

from aiohttp import web

from local.emulator import Clock, Fault
from local.microsoft import permissions as p
from local.microsoft.applications import Applications, Organization
from local.microsoft.apps import GRAPH, App
from local.microsoft.batch import error_response, run
from local.microsoft.deleted import DeletedItems
from local.microsoft.delta import DeltaService, reset_error
from local.microsoft.directory import Directory
from local.microsoft.errors import GraphError, bad_request, denied, method_not_allowed, unauthenticated
from local.microsoft.groups import Groups
from local.microsoft.messages import VERSION_ROOT, GraphRequest, GraphResponse, answer
from local.microsoft.pages import Pager
from local.microsoft.router import Route, Router, canonical
from local.microsoft.throttle import Bucket, Verdict
from local.microsoft.tokens import InvalidTokenError, Principal, TokenService
from local.microsoft.users import Users


class GraphService:
    """Graph for one directory. ``extra`` routes let further parts of Graph join."""

    def __init__(
        self,
        *,
        clock: Clock,
        tokens: TokenService,
        directory: Directory,
        apps: dict[str, App],
        organization: Organization,
        extra: tuple[Route, ...] = (),
    ) -> None:
        self._clock = clock
        self._tokens = tokens
        self._directory = directory
        self.delta = DeltaService(clock, directory)
        self.pager = Pager()
        self.bucket = Bucket(clock)
        users, groups = Users(directory, self.pager), Groups(directory, self.pager)
        deleted, applications = DeletedItems(directory, self.pager), Applications(apps)
        self._router = Router(
            [
                *_user_routes(users, self.delta),
                *_group_routes(groups, self.delta),
                *_deleted_routes(deleted),
                *_other_routes(applications, organization),
                *extra,
            ]
        )

    async def respond(
        self, request: web.Request, body: bytes, faults: list[Fault], reset: Fault | None
    ) -> web.Response:
        """The answer to one request that came over a connection; ``reset`` is a planted delta reset."""
        try:
            graph_request = self._accept(request, body)
            _refuse_reset(graph_request, reset)
            response = await self._dispatch(graph_request, faults)
        except GraphError as error:
            response = self._error(request, error)
        return self._finish(request, response)

    def _accept(self, request: web.Request, body: bytes) -> GraphRequest:
        origin = str(request.url.origin())
        principal = self._principal(request.headers, origin)
        if body and request.method in ("GET", "DELETE"):
            raise bad_request(f"A {request.method} request must not have a body.", "BadRequest")
        if body and request.content_type != "application/json":
            raise GraphError(415, "Request_BadRequest", "The content type of a body has to be application/json.")
        return GraphRequest(
            method=request.method,
            path=request.raw_path.partition("?")[0].removeprefix(VERSION_ROOT),
            query=request.raw_path.partition("?")[2],
            headers=request.headers,
            body=body,
            origin=origin,
            principal=principal,
        )

    def _principal(self, headers: Mapping[str, str], origin: str) -> Principal:
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthenticated("Access token is empty.", origin)
        try:
            return self._tokens.validate(token, GRAPH)
        except InvalidTokenError as error:
            raise unauthenticated(str(error), origin) from None

    async def _dispatch(self, request: GraphRequest, faults: list[Fault]) -> GraphResponse:
        if request.segments() != ["$batch"]:
            return await self._call(request)
        if request.method != "POST":
            raise method_not_allowed(["POST"])
        return await run(request, self._call_in_batch, faults)

    async def _call_in_batch(self, request: GraphRequest) -> GraphResponse:
        try:
            if request.body and request.method in ("GET", "DELETE"):
                raise bad_request(f"A {request.method} request must not have a body.", "BadRequest")
            return await self._call(request)
        except GraphError as error:
            return error_response(error)

    async def _call(self, request: GraphRequest) -> GraphResponse:
        self._directory.sweep()
        route, values = self._router.find(request)
        verdict = self._charge(route, request)
        if not verdict.allowed:
            raise GraphError(429, "TooManyRequests", "Too Many Requests", verdict.headers)
        if not route.permits(request):
            raise denied()
        response = route.call(request, *values)
        if not isinstance(response, GraphResponse):
            response = await response
        response.headers.update(verdict.headers)
        return response

    def _charge(self, route: Route, request: GraphRequest) -> Verdict:
        if route.meter is not None:
            return route.meter(request.principal.app_id)
        return self.bucket.take(request.principal.app_id, route.cost(request), len(self._directory.order["user"]))

    def _error(self, request: web.Request, error: GraphError) -> GraphResponse:
        request_id = str(uuid.uuid4())
        inner = {
            "date": self._clock.now().strftime("%Y-%m-%dT%H:%M:%S"),
            "request-id": request_id,
            "client-request-id": request.headers.get("client-request-id", request_id),
        }
        envelope = {"error": {"code": error.code, "message": error.message, "innerError": inner}}
        return answer(envelope, error.status, {**error.headers, "request-id": request_id})

    def _finish(self, request: web.Request, response: GraphResponse) -> web.Response:
        request_id = response.headers.setdefault("request-id", str(uuid.uuid4()))
        headers = {
            "client-request-id": request.headers.get("client-request-id", request_id),
            "x-ms-ags-diagnostic": '{"ServerInfo":{"DataCenter":"Local","Slice":"E","Ring":"1","ScaleUnit":"000"}}',
            "Date": formatdate(self._clock.time(), usegmt=True),
            "Cache-Control": "no-cache",
            "OData-Version": "4.0",
            **response.headers,
        }
        if response.body:
            headers["Content-Type"] = response.content_type
        return web.Response(status=response.status, body=response.body, headers=headers)


def _refuse_reset(request: GraphRequest, reset: Fault | None) -> None:
    """A planted fault of kind ``reset``; ``options`` may name the ``answer``, one of ``delta.ResetAnswer``."""
    segments = canonical(request.segments())
    if reset is not None and segments in (["users", "delta"], ["groups", "delta"]):
        raise reset_error(reset.options.get("answer", "410_location"), request, segments[0][:-1])


def _user_routes(users: Users, delta: DeltaService) -> list[Route]:
    return [
        Route("GET", "users", users.all, p.USERS_READ_BASIC, 2),
        Route("GET", "users/$count", users.count, p.USERS_READ, 2),
        Route("GET", "users/delta", lambda request: delta.serve(request, "user"), p.USERS_READ, 2),
        Route("GET", "users/{id}", users.get, p.USERS_READ_BASIC, 2),
    ]


def _group_routes(groups: Groups, delta: DeltaService) -> list[Route]:
    read = p.GROUPS_READ
    return [
        Route("GET", "groups", groups.all, read),
        Route("GET", "groups/$count", groups.count, read),
        Route("GET", "groups/delta", lambda request: delta.serve(request, "group"), read),
        Route("GET", "groups/{id}", groups.get, read),
        Route("GET", "groups/{id}/owners", groups.owners, read),
        Route("GET", "groups/{id}/members", groups.members, read, 3),
        Route("GET", "groups/{id}/members/$count", groups.members_count, read, 3),
        Route("GET", "groups/{id}/members/{cast}", groups.members_cast, read, 3),
        Route("GET", "groups/{id}/transitiveMembers", groups.transitive_members, read, 5),
        Route("GET", "groups/{id}/transitiveMembers/$count", groups.transitive_members_count, read, 5),
        Route("GET", "groups/{id}/transitiveMembers/{cast}", groups.transitive_members_cast, read, 5),
    ]


def _deleted_routes(deleted: DeletedItems) -> list[Route]:
    """The permission depends on the type of the object, so the calls check it."""
    return [
        Route("GET", "directory/deletedItems/{id}", deleted.get_or_list, p.EVERYBODY),
        Route("DELETE", "directory/deletedItems/{id}", deleted.purge, p.EVERYBODY),
        Route("POST", "directory/deletedItems/{id}/restore", deleted.restore, p.EVERYBODY),
    ]


def _other_routes(applications: Applications, organization: Organization) -> list[Route]:
    read = p.APPLICATIONS_READ | p.APPLICATIONS_OWN
    return [
        Route("GET", "applications/{id}", applications.get, read, 2),
        Route("GET", "applications/appId=/{id}", applications.get_by_app_id, read, 2),
        Route("GET", "organization", organization.all, p.ORGANIZATION_READ),
        Route("GET", "organization/{id}", organization.get, p.ORGANIZATION_READ),
    ]
