"""Drives Microsoft's Python worker library inside the process that holds the app. One app per process.

The library keeps the app in module globals and imports ``function_app`` by name, so it wants the app's folder as the
working directory and first on ``sys.path``; a second app in one process works only after ``forget_app``.
"""

import asyncio
import os
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import azure_functions_runtime as runtime

from local.host import protos
from local.host.cookies import set_cookie
from local.host.wire import Data, Function, HttpResponse, Invocation, Kind, Outcome, Ready

_RETRY = protos.RetryContext()


class Worker:
    """The app of one folder: ``start`` indexes it, ``invoke`` runs a function of it."""

    def __init__(self, app_dir: Path) -> None:
        self._app_dir = app_dir.resolve()
        self._came_from = Path.cwd()

    async def start(self) -> Ready:
        """Import and index the app; an error of the app comes back as text with its traceback, it is not raised."""
        os.chdir(self._app_dir)
        sys.path.insert(0, str(self._app_dir))
        runtime.start_threadpool_executor()
        try:
            answer = await runtime.worker_init_request(self._init_request())
            found = await runtime.functions_metadata_request(None)
        except BaseException:  # noqa: BLE001 - an app may raise SystemExit while it is imported: that is its error too
            return Ready([], traceback.format_exc())
        if answer.result.status != protos.StatusResult.Success:
            return Ready([], _import_error(answer.result.exception))
        if not found.function_metadata_results:
            return Ready([], f"there is no function in {self._app_dir / 'function_app.py'}")
        return Ready([_function(one) for one in found.function_metadata_results])

    def _init_request(self) -> SimpleNamespace:
        init = SimpleNamespace(capabilities={}, function_app_directory=str(self._app_dir))
        return SimpleNamespace(
            request=SimpleNamespace(worker_init_request=init),
            properties={"protos": protos, "host": "127.0.0.1"},
            name="",
        )

    async def invoke(self, call: Invocation) -> Outcome:
        """Run one function to its end. Never raises: cancelling the task is an outcome as well."""
        # The library sets this for sync functions only; log filters of the app rely on it in async ones too.
        runtime.invocation_id_cv.set(call.id)
        request = SimpleNamespace(request=SimpleNamespace(invocation_request=_invocation_request(call)))
        try:
            return _outcome(call.id, await runtime.invocation_request(request))
        except asyncio.CancelledError:
            return Outcome(call.id, ok=False, error="the function was cancelled")
        except BaseException as error:  # noqa: BLE001 - SystemExit of a handler must not end the process
            return Outcome(call.id, ok=False, error=f"{type(error).__name__}: {error}", stack=traceback.format_exc())

    def stop(self) -> None:
        """Give the library's threads, the working directory and ``sys.path`` back; waits for running sync functions."""
        runtime.stop_threadpool_executor()
        os.chdir(self._came_from)
        if str(self._app_dir) in sys.path:
            sys.path.remove(str(self._app_dir))


def forget_app() -> None:
    """Let this process index another app: the library cannot index one module object twice."""
    sys.modules.pop("function_app", None)


def _import_error(exception: protos.RpcException) -> str:
    return exception.stack_trace.rstrip() or exception.message


def _function(found: protos.RpcFunctionMetadata) -> Function:
    return Function(found.name, found.function_id, list(found.raw_bindings), has_retry=found.retry_options is not None)


def _invocation_request(call: Invocation) -> protos.InvocationRequest:
    return protos.InvocationRequest(
        call.id,
        call.function_id,
        [protos.ParameterBinding(call.binding, _typed(call))],
        {name: protos.TypedData(**{data.kind.value: data.value}) for name, data in call.metadata.items()},
        protos.RpcTraceContext(call.trace_parent),
        _RETRY,
    )


def _typed(call: Invocation) -> protos.TypedData:
    http = call.http
    if http is None:
        data = cast("Data", call.data)
        return protos.TypedData(**{data.kind.value: data.value})
    body = protos.TypedData(bytes=http.body) if http.body else protos.TypedData()
    return protos.TypedData(http=protos.RpcHttp(http.method, http.url, http.headers, body, http.params, http.query))


def _outcome(call_id: str, answer: protos.InvocationResponse) -> Outcome:
    if answer.result.status != protos.StatusResult.Success:
        error = answer.result.exception or protos.RpcException("unknown error")
        return Outcome(call_id, ok=False, error=error.message, stack=error.stack_trace)
    value = answer.return_value
    http = None
    if value is not None and value.kind == "http":
        http, value = _http(value.http), None
    outputs = [(one.name, data) for one in answer.output_data if (data := _data(one.data)) is not None]
    return Outcome(call_id, ok=True, http=http, value=_data(value), outputs=outputs)


def _data(typed: protos.TypedData | None) -> Data | None:
    if typed is None or typed.kind is None:
        return None
    value: Any = getattr(typed, typed.kind)
    return None if value is None else Data(Kind(typed.kind), value)


def _http(answer: protos.RpcHttp) -> HttpResponse:
    headers = answer.headers
    for name, text in headers.items():
        if type(text) is not str:
            # The real worker fails here too: its message type holds text only.
            raise TypeError(f"response header {name!r} is {type(text).__name__}, not str")
    body = answer.body.bytes if answer.body is not None else b""
    cookies = [set_cookie(one) for one in answer.cookies] if answer.cookies else []
    return HttpResponse(int(answer.status_code), headers, cookies, body)
