"""Every trigger of the deployment, one thin function each: parse, call one room, respond.

HTTP routes under ``/api`` need a function key, which the Functions host checks. ``/healthz`` is open to anybody and
says nothing but that the app runs. Graph and the PBX cannot send a key: what they send proves itself. Administrators
sign in: their pages are imported by the first of them, so that what Graph sends never waits for it.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import List  # noqa: UP035 - see Messages

import azure.functions as func
import msgspec

from presence import intake, poll, report, subscriptions
from presence.messages import Answer, Update
from presence.room import Room, Subscriber, room_of
from sync import api, dispatch, notifications, pbx_events, service, trail
from sync.api import Ask, Reply
from sync.connection import Connection
from sync.messages import Message, Outcome
from sync.service import Bridge

QUEUE = "sync-requests"
PRESENCE_QUEUE = "presence-updates"
STORAGE = "AzureWebJobsStorage"

Messages = func.Out[List[str]]  # noqa: UP006 - the Python worker refuses the built-in generic here

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
_bridges: list[Bridge] = []


@app.route("api/status", methods=["GET"])
async def get_status(req: func.HttpRequest) -> func.HttpResponse:
    """State, runs, counts, capacity."""
    return await _answer(lambda: api.get_status(_connection(), _bridge().now(), lambda: report.figures(_room())))


@app.route("api/settings", methods=["GET"])
async def get_settings(req: func.HttpRequest) -> func.HttpResponse:
    """The settings document."""
    return await _answer(lambda: api.get_settings(_connection()))


@app.route("api/settings", methods=["PUT"])
@app.queue_output("messages", QUEUE, STORAGE)
async def put_settings(req: func.HttpRequest, messages: Messages) -> func.HttpResponse:
    """Replace the settings document."""
    return await _answer(
        lambda: trail.recorded_settings(
            _connection(), _bridge().now(), lambda: api.put_settings(_connection(), _ask(req), _bridge().now())
        ),
        messages,
    )


@app.route("api/sync", methods=["POST"])
@app.queue_output("messages", QUEUE, STORAGE)
async def post_sync(req: func.HttpRequest, messages: Messages) -> func.HttpResponse:
    """Request a run or a preview."""
    return await _done("sync.started", lambda: api.post_sync(_connection(), _ask(req), _bridge().now()), messages)


@app.route("api/pause", methods=["POST"])
@app.queue_output("messages", QUEUE, STORAGE)
async def pause(req: func.HttpRequest, messages: Messages) -> func.HttpResponse:
    """Stop the synchronization of users or groups for the time being."""
    return await _done(
        "paused", lambda: api.post_pause(_connection(), _ask(req), _bridge().now()), messages, ask=_ask(req)
    )


@app.route("api/resume", methods=["POST"])
@app.queue_output("messages", QUEUE, STORAGE)
async def resume(req: func.HttpRequest, messages: Messages) -> func.HttpResponse:
    """Sync again what was paused."""
    return await _done(
        "resumed", lambda: api.post_resume(_connection(), _ask(req), _bridge().now()), messages, ask=_ask(req)
    )


@app.route("api/disable", methods=["POST"])
@app.queue_output("messages", QUEUE, STORAGE)
async def disable(req: func.HttpRequest, messages: Messages) -> func.HttpResponse:
    """Suspend the whole integration."""
    return await _done(
        "integration.disabled", lambda: api.post_disable(_connection(), _ask(req), _bridge().now()), messages
    )


@app.route("api/enable", methods=["POST"])
@app.queue_output("messages", QUEUE, STORAGE)
async def enable(req: func.HttpRequest, messages: Messages) -> func.HttpResponse:
    """End the suspension."""
    return await _done("integration.enabled", lambda: api.post_enable(_connection(), _bridge().now()), messages)


@app.route("api/disconnect", methods=["POST"])
@app.queue_output("messages", QUEUE, STORAGE)
async def disconnect(req: func.HttpRequest, messages: Messages) -> func.HttpResponse:
    """End the connection and forget it."""
    return await _done(
        "connection.ended", lambda: api.post_disconnect(_connection(), _ask(req), _bridge().now()), messages
    )


@app.route("api/runs", methods=["GET"])
async def get_runs(req: func.HttpRequest) -> func.HttpResponse:
    """Runs, newest first."""
    return await _answer(lambda: api.get_runs(_connection(), _ask(req)))


@app.route("api/runs/{id}", methods=["GET"])
async def get_run(req: func.HttpRequest) -> func.HttpResponse:
    """One run."""
    return await _answer(lambda: api.get_run(_connection(), req.route_params["id"]))


@app.route("api/runs/{id}/items", methods=["GET"])
async def get_items(req: func.HttpRequest) -> func.HttpResponse:
    """What a run did."""
    return await _answer(lambda: api.get_items(_connection(), req.route_params["id"], _ask(req)))


@app.route("api/runs/{id}/approve", methods=["POST"])
@app.queue_output("messages", QUEUE, STORAGE)
async def approve(req: func.HttpRequest, messages: Messages) -> func.HttpResponse:
    """Carry out held deletions."""
    run_id = req.route_params["id"]
    return await _done(
        "held.approved",
        lambda: api.post_decision(_connection(), run_id, "approved", _bridge().now()),
        messages,
        subject=run_id,
    )


@app.route("api/runs/{id}/reject", methods=["POST"])
async def reject(req: func.HttpRequest) -> func.HttpResponse:
    """Leave held deletions undone."""
    run_id = req.route_params["id"]
    return await _done(
        "held.rejected",
        lambda: api.post_decision(_connection(), run_id, "rejected", _bridge().now()),
        subject=run_id,
    )


@app.route("api/links", methods=["GET"])
async def get_links(req: func.HttpRequest) -> func.HttpResponse:
    """Which Entra object is which PBX object."""
    return await _answer(lambda: api.get_links(_connection(), _ask(req)))


@app.route("api/secrets/{name}", methods=["PUT"])
@app.queue_output("messages", QUEUE, STORAGE)
async def put_secret(req: func.HttpRequest, messages: Messages) -> func.HttpResponse:
    """Store a secret in the Key Vault."""
    name = req.route_params["name"]
    return await _done(
        "secret.replaced",
        lambda: api.put_secret(_connection(), name, _ask(req), _bridge().now()),
        messages,
        subject=name,
    )


@app.route("api/openapi.json", methods=["GET"])
async def get_openapi(req: func.HttpRequest) -> func.HttpResponse:
    """The description of this API."""
    return await _answer(api.get_openapi)


@app.route("healthz", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def healthz(req: func.HttpRequest) -> func.HttpResponse:
    """The app runs."""
    return func.HttpResponse("ok", mimetype="text/plain")


@app.route("console/{*path}", methods=["GET", "POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.queue_output("messages", QUEUE, STORAGE)
@app.queue_output("updates", PRESENCE_QUEUE, STORAGE)
async def show_console(req: func.HttpRequest, messages: Messages, updates: Messages) -> func.HttpResponse:
    """The administrator's pages, which know their visitors by sessions of their own."""
    return await _page(req, messages, updates)


@app.route("connect", methods=["GET", "POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.queue_output("messages", QUEUE, STORAGE)
@app.queue_output("updates", PRESENCE_QUEUE, STORAGE)
async def show_connect(req: func.HttpRequest, messages: Messages, updates: Messages) -> func.HttpResponse:
    """The page that connects tenant and PBX."""
    return await _page(req, messages, updates)


@app.route("connect/callback", methods=["GET", "POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.queue_output("messages", QUEUE, STORAGE)
@app.queue_output("updates", PRESENCE_QUEUE, STORAGE)
async def come_back(req: func.HttpRequest, messages: Messages, updates: Messages) -> func.HttpResponse:
    """Where Microsoft sends the browser after a sign-in or a consent; what it brings proves itself."""
    return await _page(req, messages, updates)


@app.route("me/presence", methods=["GET", "POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.queue_output("messages", QUEUE, STORAGE)
@app.queue_output("updates", PRESENCE_QUEUE, STORAGE)
async def show_my_presence(req: func.HttpRequest, messages: Messages, updates: Messages) -> func.HttpResponse:
    """An employee's own page: any member of the tenant signs in with Microsoft, and decides for himself only."""
    return await _page(req, messages, updates)


@app.route("notifications/directory", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.queue_output("messages", QUEUE, STORAGE)
async def notify_directory(req: func.HttpRequest, messages: Messages) -> func.HttpResponse:
    """Graph announces changes of users and groups; each is checked by its subscription's client state and tenant."""
    bridge = _bridge()
    body = req.get_body()
    return _told(await notifications.receive_directory(bridge.connection(), req.params, body, bridge.now()), messages)


@app.route("notifications/lifecycle", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.queue_output("messages", QUEUE, STORAGE)
async def notify_lifecycle(req: func.HttpRequest, messages: Messages) -> func.HttpResponse:
    """Graph speaks about the subscriptions themselves; checked like the changes."""
    bridge = _bridge()
    body = req.get_body()
    return _told(await notifications.receive_lifecycle(bridge.connection(), req.params, body, bridge.now()), messages)


@app.route("notifications/presence", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.queue_output("messages", PRESENCE_QUEUE, STORAGE)
async def notify_presence(req: func.HttpRequest, messages: Messages) -> func.HttpResponse:
    """Graph announces presence; each item is checked by its subscription's client state, tenant and signed tokens."""
    answer: Answer = await intake.receive(_room(), req.params, req.get_body())
    _queue(messages, answer.updates)
    return func.HttpResponse(
        answer.text, status_code=answer.status, headers=answer.headers, mimetype="text/plain", charset="utf-8"
    )


@app.route("pbx/events", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.queue_output("messages", QUEUE, STORAGE)
async def pbx_event(req: func.HttpRequest, messages: Messages) -> func.HttpResponse:
    """The PBX reports an extension that changed; checked by the signature of the raw body."""
    bridge, ask = _bridge(), _ask(req)
    return _told(await pbx_events.receive(bridge.connection(), ask.headers, ask.body, bridge.now()), messages)


@app.timer_trigger("timer", "0 * * * * *", use_monitor=False)
@app.queue_output("messages", QUEUE, STORAGE)
async def tick(timer: func.TimerRequest, messages: Messages) -> None:
    """Queue what is due."""
    connection, now = _connection(), _bridge().now()
    _queue(messages, [*await service.tick(connection, now), *await dispatch.due(connection, now)])


@app.queue_trigger("message", QUEUE, STORAGE)
@app.queue_output("messages", QUEUE, STORAGE)
@app.queue_output("updates", PRESENCE_QUEUE, STORAGE)
async def run_sync(message: func.QueueMessage, messages: Messages, updates: Messages) -> None:
    """Do what a message asks for: execute a run, renew subscriptions, look at what the PBX reported."""
    request = msgspec.json.decode(message.get_body(), type=Message)
    if request.task == "presence":
        _queue(updates, await poll.look_again(_room(request.connection)))
        return
    bridge = _bridge()
    _queue(messages, await dispatch.carry_out(bridge.connection(request.connection), request, bridge.now))


@app.timer_trigger("timer", "*/10 * * * * *", use_monitor=False)
@app.queue_output("messages", PRESENCE_QUEUE, STORAGE)
async def presence_poll(timer: func.TimerRequest, messages: Messages) -> None:
    """Ask Graph about presence that it does not announce; costs one read while presence is off."""
    _queue(messages, await poll.poll(_room()))


@app.queue_trigger("message", PRESENCE_QUEUE, STORAGE)
@app.queue_output("messages", PRESENCE_QUEUE, STORAGE)
async def push_presence(message: func.QueueMessage, messages: Messages) -> None:
    """Write presence that was not written at once; renew its subscription."""
    update = msgspec.json.decode(message.get_body(), type=Update)
    _queue(messages, await poll.carry_out(_room(update.connection), update))


def _bridge() -> Bridge:
    """The process's one bridge, opened at the first trigger: a cold start pays only for what it uses."""
    if not _bridges:
        _bridges.append(Bridge(parting=_part))
    return _bridges[0]


async def _part(connection: Connection) -> list[str]:
    """End what presence began at Graph, before a connection is forgotten."""
    return await subscriptions.end_all(_room(connection.id))


def _connection() -> Connection:
    return _bridge().connection()


def _room(connection_id: str = "default") -> Room:
    """A connection as the presence room sees it. Who signed in is asked for behind Graph's back: never while it waits
    for an answer."""
    bridge = _bridge()
    connection = bridge.connection(connection_id)

    async def subscribers() -> Sequence[Subscriber]:
        from console.rooms import subscribers_of

        return await subscribers_of(connection)

    async def delegated_token(account: str, scopes: Sequence[str], *, fresh: bool = False) -> str:
        from console.rooms import delegated_token

        return await delegated_token(connection, account, scopes, bridge.now(), fresh=fresh)

    return room_of(connection, bridge.now, subscribers, delegated_token)


def _ask(request: func.HttpRequest) -> Ask:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Ask(params=dict(request.params), headers=headers, body=request.get_body())


async def _answer(work: Callable[[], Awaitable[Reply]], messages: Messages | None = None) -> func.HttpResponse:
    reply = await api.answered(work)
    if messages is not None:
        _queue(messages, reply.messages)
    return func.HttpResponse(reply.body, status_code=reply.status, headers=reply.headers)


async def _done(
    action: str,
    work: Callable[[], Awaitable[Reply]],
    messages: Messages | None = None,
    *,
    subject: str = "",
    ask: Ask | None = None,
) -> func.HttpResponse:
    """Answer a request that changes something, and record it; ``ask`` names the kind of objects it is about."""
    deed = action if ask is None else trail.deed(ask, action)
    return await _answer(lambda: trail.recorded(_connection(), _bridge().now(), deed, work, subject=subject), messages)


async def _page(request: func.HttpRequest, messages: Messages, updates: Messages) -> func.HttpResponse:
    from console.adapter import Received, answer

    received = Received(request.method, request.url, list(request.headers.items()), request.get_body())
    answered = await answer(_bridge, received)
    _queue(messages, answered.messages)
    _queue(updates, answered.updates)
    response = func.HttpResponse(answered.body, status_code=answered.status)
    for name, value in answered.headers:
        response.headers.add(name, value)
    return response


def _told(outcome: Outcome, messages: Messages) -> func.HttpResponse:
    _queue(messages, outcome.messages)
    return func.HttpResponse(
        outcome.text, status_code=outcome.status, headers=outcome.headers, mimetype="text/plain", charset="utf-8"
    )


def _queue(output: Messages, messages: Iterable[Message | Update]) -> None:
    encoded = [message.encode() for message in messages]
    if encoded:
        output.set(encoded)
