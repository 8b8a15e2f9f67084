"""The app that the host's tests run: one function for everything a trigger can do."""

import asyncio
import json
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import List  # noqa: UP035 - the worker library does not understand list[str] here

import azure.functions as func
from azure_functions_runtime import invocation_id_cv

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
log = logging.getLogger("fixture")


def _answer(document: object, status: int = 200) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(document), status_code=status, mimetype="application/json")


def _record(name: str, document: object) -> None:
    """Append a line that the test reads: queue and timer functions have no other voice."""
    folder = os.environ.get("FIXTURE_RECORDS")
    if folder:
        with (Path(folder) / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(document) + "\n")


@app.route(route="ping", methods=["GET", "POST"])
async def ping(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("pong")


@app.route(route="sync", methods=["GET"])
def in_thread(req: func.HttpRequest) -> func.HttpResponse:
    time.sleep(float(req.params.get("seconds", "0")))
    return func.HttpResponse("pong from a thread")


@app.route(route="echo/{id:int}/{rest?}")
async def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    document = {
        "method": req.method,
        "url": req.url,
        "route": dict(req.route_params),
        "query": dict(req.params),
        "headers": dict(req.headers),
        "body": req.get_body().decode(),
        "invocation": context.invocation_id,
        "logged_as": invocation_id_cv.get(),
        "trace_parent": context.trace_context.trace_parent,
    }
    return _answer(document)


@app.route(route="size", methods=["POST", "PUT"])
async def size(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(str(len(req.get_body())))


@app.route(route="big/{size:int}", methods=["GET"])
async def big(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(b"x" * int(req.route_params["size"]), mimetype="application/octet-stream")


@app.route(route="cookies", methods=["GET"])
async def cookies(req: func.HttpRequest) -> func.HttpResponse:
    response = func.HttpResponse(status_code=302, headers={"Location": "/ping"})
    response.headers.add("Set-Cookie", "session=a+b/c; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=60")
    response.headers.add("Set-Cookie", "theme=dark; Expires=Wed, 21 Oct 2026 07:28:00 GMT")
    return response


@app.route(route="headed", methods=["HEAD", "GET"])
async def headed(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("a body", headers={"X-Answer": "42"})


@app.route(route="fails")
async def fails(req: func.HttpRequest) -> func.HttpResponse:
    raise RuntimeError("on purpose")


@app.route(route="exits")
async def exits(req: func.HttpRequest) -> func.HttpResponse:
    raise SystemExit(3)


@app.route(route="dies")
async def dies(req: func.HttpRequest) -> func.HttpResponse:
    os._exit(7)


@app.route(route="waits", methods=["GET"])
async def waits(req: func.HttpRequest) -> func.HttpResponse:
    await asyncio.sleep(float(req.params["seconds"]))
    return func.HttpResponse("waited")


@app.route(route="pid", methods=["GET"])
async def pid(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(str(os.getpid()))


@app.route(route="now", methods=["GET"])
async def now(req: func.HttpRequest) -> func.HttpResponse:
    return _answer({"date": datetime.now(UTC).isoformat(), "time": time.time(), "monotonic": time.monotonic()})


@app.route(route="guarded", auth_level=func.AuthLevel.FUNCTION)
async def guarded(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("open")


@app.route(route="ruled", auth_level=func.AuthLevel.ADMIN)
async def ruled(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("open")


@app.route(route="enqueue", methods=["POST"])
@app.queue_output(arg_name="one", queue_name="%WORK_QUEUE%", connection="AzureWebJobsStorage")
@app.queue_output(arg_name="many", queue_name="%WORK_QUEUE%", connection="AzureWebJobsStorage")
async def enqueue(req: func.HttpRequest, one: func.Out[str], many: func.Out[List[str]]) -> func.HttpResponse:  # noqa: UP006
    bodies = req.get_json()
    if isinstance(bodies, list):
        many.set(bodies)
    else:
        one.set(bodies if isinstance(bodies, str) else json.dumps(bodies))
    return func.HttpResponse(status_code=202)


@app.timer_trigger(arg_name="timer", schedule="%TICK%")
async def tick(timer: func.TimerRequest) -> None:
    _record("ticked_at", {"time": time.time()})
    _record("tick", {"past_due": timer.past_due, "schedule": getattr(timer, "schedule", None)})


@app.timer_trigger(arg_name="timer", schedule="0 0 3 * * *", run_on_startup=True)
async def at_start(timer: func.TimerRequest) -> None:
    _record("at_start", {"past_due": timer.past_due})


@app.queue_trigger(arg_name="message", queue_name="%WORK_QUEUE%", connection="AzureWebJobsStorage")
@app.queue_output(arg_name="done", queue_name="%DONE_QUEUE%", connection="AzureWebJobsStorage")
async def work(message: func.QueueMessage, done: func.Out[str]) -> None:
    body = message.get_body().decode()
    inserted = message.insertion_time
    _record("work", {"body": body, "id": message.id, "count": message.dequeue_count, "inserted": str(inserted)})
    if body.startswith("slow"):
        await asyncio.sleep(float(body.partition(" ")[2]))
    if body.startswith("fail"):
        raise RuntimeError("on purpose")
    done.set(f"done {body}")


@app.route(route="blocks", methods=["GET"])
async def blocks(req: func.HttpRequest) -> func.HttpResponse:
    """Does what an async function must not: it blocks its process, or a thread nobody can stop."""
    seconds = float(req.params["seconds"])
    if req.params.get("in") == "thread":
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, seconds)
    else:
        time.sleep(seconds)  # noqa: ASYNC251 - on purpose
    return func.HttpResponse("blocked")
