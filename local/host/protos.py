"""The message classes that ``azure_functions_runtime`` expects to be handed: plain slotted Python, no protobuf.

The library never imports protobuf itself; it builds and reads these by attribute. Only what version 1.3.0 touches is
here, and ``tests/host`` pins that version and those attributes.
"""

from datetime import datetime, timedelta
from types import SimpleNamespace


class TypedData:
    """One value of exactly one kind: string, json, bytes, http, int or double."""

    __slots__ = ("bytes", "double", "http", "int", "json", "kind", "string")

    bytes: "bytes"
    double: float
    http: "RpcHttp"
    int: "int"
    json: str
    string: str

    def __init__(self, **one: object) -> None:
        self.kind: str | None = None
        for kind, value in one.items():
            self.kind = kind
            setattr(self, kind, value)

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802 - the name the library calls
        """The kind that is set, or None."""
        return self.kind


class ParameterBinding:
    """A named argument or output."""

    __slots__ = ("data", "name")

    def __init__(self, name: str = "", data: TypedData | None = None) -> None:
        self.name = name
        self.data = data

    def WhichOneof(self, group: str) -> str:  # noqa: N802 - the name the library calls
        """Data always travels in the message here, never in shared memory."""
        return "data"


class RpcHttp:
    """A request (method, url, params, query) or an answer (status_code, cookies)."""

    __slots__ = (
        "body",
        "cookies",
        "enable_content_negotiation",
        "headers",
        "method",
        "params",
        "query",
        "status_code",
        "url",
    )

    def __init__(  # noqa: PLR0917 - the library's names and order
        self,
        method: str = "",
        url: str = "",
        headers: dict[str, str] | None = None,
        body: TypedData | None = None,
        params: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        status_code: str = "",
        cookies: "list[RpcHttpCookie] | None" = None,
        enable_content_negotiation: bool = False,
    ) -> None:
        self.method = method
        self.url = url
        self.headers = headers or {}
        self.body = body
        self.params = params or {}
        self.query = query or {}
        self.status_code = status_code
        self.cookies = cookies
        self.enable_content_negotiation = enable_content_negotiation


class NullableString:
    """A present string."""

    __slots__ = ("value",)

    def __init__(self, value: str = "") -> None:
        self.value = value


class NullableBool:
    """A present bool."""

    __slots__ = ("value",)

    def __init__(self, value: bool = False) -> None:
        self.value = value


class NullableDouble:
    """A present number."""

    __slots__ = ("value",)

    def __init__(self, value: float = 0.0) -> None:
        self.value = value


class NullableTimestamp:
    """A present point in time; the library converts what it is given."""

    __slots__ = ("value",)

    def __init__(self, value: "Timestamp | datetime | None" = None) -> None:
        self.value = value


class Timestamp:
    """Seconds since 1970 UTC."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: int = 0) -> None:
        self.seconds = seconds


class RpcHttpCookie:
    """One ``Set-Cookie`` of an answer."""

    __slots__ = ("domain", "expires", "http_only", "max_age", "name", "path", "same_site", "secure", "value")

    # "None" (the attribute is absent) is no Python identifier, hence a namespace and not an enum class.
    SameSite = SimpleNamespace(**{"None": 0, "Lax": 1, "Strict": 2, "ExplicitNone": 3})

    def __init__(  # noqa: PLR0917 - the library's names and order
        self,
        name: str = "",
        value: str = "",
        domain: NullableString | None = None,
        path: NullableString | None = None,
        expires: NullableTimestamp | None = None,
        secure: NullableBool | None = None,
        http_only: NullableBool | None = None,
        same_site: int = 0,
        max_age: NullableDouble | None = None,
    ) -> None:
        self.name = name
        self.value = value
        self.domain = domain
        self.path = path
        self.expires = expires
        self.secure = secure
        self.http_only = http_only
        self.same_site = same_site
        self.max_age = max_age


class RpcException:
    """An exception of the app; ``message`` begins with its type."""

    __slots__ = ("message", "source", "stack_trace")

    def __init__(self, message: str = "", stack_trace: str = "", source: str = "") -> None:
        self.message = message
        self.stack_trace = stack_trace
        self.source = source


class StatusResult:
    """Success or failure with its exception."""

    __slots__ = ("exception", "status")

    Failure = 0
    Success = 1

    def __init__(self, status: int = Failure, exception: RpcException | None = None) -> None:
        self.status = status
        self.exception = exception


class BindingInfo:
    """A binding as the indexer records it; directions and data types of its class are what bindings compare with."""

    __slots__ = ("data_type", "direction", "type")

    # "in" is a keyword, so it has no attribute; the library names only these.
    out = 1
    inout = 2
    undefined = 0

    def __init__(self, type: str = "", data_type: object = None, direction: object = None) -> None:  # noqa: A002
        self.type = type
        self.data_type = data_type
        self.direction = direction


class RpcRetryOptions:
    """A retry policy as declared; the host only reports that there is one."""

    __slots__ = ("delay_interval", "max_retry_count", "maximum_interval", "minimum_interval", "retry_strategy")

    def __init__(
        self,
        max_retry_count: int = 0,
        retry_strategy: str = "",
        delay_interval: timedelta | None = None,
        minimum_interval: timedelta | None = None,
        maximum_interval: timedelta | None = None,
    ) -> None:
        self.max_retry_count = max_retry_count
        self.retry_strategy = retry_strategy
        self.delay_interval = delay_interval
        self.minimum_interval = minimum_interval
        self.maximum_interval = maximum_interval


class RpcFunctionMetadata:
    """One indexed function."""

    __slots__ = (
        "bindings",
        "directory",
        "entry_point",
        "function_id",
        "is_proxy",
        "language",
        "managed_dependency_enabled",
        "name",
        "properties",
        "raw_bindings",
        "retry_options",
        "script_file",
    )

    def __init__(  # noqa: PLR0917 - the library's names and order
        self,
        name: str = "",
        function_id: str = "",
        managed_dependency_enabled: bool = False,
        directory: str = "",
        script_file: str = "",
        entry_point: str = "",
        is_proxy: bool = False,
        language: str = "",
        bindings: dict[str, BindingInfo] | None = None,
        raw_bindings: list[str] | None = None,
        retry_options: RpcRetryOptions | None = None,
        properties: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.function_id = function_id
        self.managed_dependency_enabled = managed_dependency_enabled
        self.directory = directory
        self.script_file = script_file
        self.entry_point = entry_point
        self.is_proxy = is_proxy
        self.language = language
        self.bindings = bindings or {}
        self.raw_bindings = raw_bindings or []
        self.retry_options = retry_options
        self.properties = properties or {}


class WorkerMetadata:
    """Versions of the worker library."""

    __slots__ = ("custom_properties", "runtime_name", "runtime_version", "worker_bitness", "worker_version")

    def __init__(
        self,
        runtime_name: str = "",
        runtime_version: str = "",
        worker_version: str = "",
        worker_bitness: str = "",
        custom_properties: dict[str, str] | None = None,
    ) -> None:
        self.runtime_name = runtime_name
        self.runtime_version = runtime_version
        self.worker_version = worker_version
        self.worker_bitness = worker_bitness
        self.custom_properties = custom_properties or {}


class WorkerInitResponse:
    """The answer to start and index."""

    __slots__ = ("capabilities", "result", "worker_metadata")

    def __init__(
        self,
        capabilities: dict[str, str] | None = None,
        worker_metadata: WorkerMetadata | None = None,
        result: StatusResult | None = None,
    ) -> None:
        self.capabilities = capabilities or {}
        self.worker_metadata = worker_metadata
        self.result = result or StatusResult()


class FunctionMetadataResponse:
    """The indexed functions; None when there is no function_app.py."""

    __slots__ = ("function_metadata_results", "result", "use_default_metadata_indexing")

    def __init__(
        self,
        use_default_metadata_indexing: bool = False,
        function_metadata_results: list[RpcFunctionMetadata] | None = None,
        result: StatusResult | None = None,
    ) -> None:
        self.use_default_metadata_indexing = use_default_metadata_indexing
        self.function_metadata_results = function_metadata_results
        self.result = result or StatusResult()


class FunctionLoadResponse:
    """The acknowledgement of a load."""

    __slots__ = ("function_id", "result")

    def __init__(self, function_id: str = "", result: StatusResult | None = None) -> None:
        self.function_id = function_id
        self.result = result or StatusResult()


class InvocationResponse:
    """The end of an invocation."""

    __slots__ = ("invocation_id", "output_data", "result", "return_value")

    def __init__(
        self,
        invocation_id: str = "",
        return_value: TypedData | None = None,
        result: StatusResult | None = None,
        output_data: list[ParameterBinding] | None = None,
    ) -> None:
        self.invocation_id = invocation_id
        self.return_value = return_value
        self.result = result or StatusResult()
        self.output_data = output_data or []


class RpcTraceContext:
    """The W3C trace context of an invocation."""

    __slots__ = ("attributes", "trace_parent", "trace_state")

    def __init__(self, trace_parent: str = "", trace_state: str = "", attributes: dict[str, str] | None = None) -> None:
        self.trace_parent = trace_parent
        self.trace_state = trace_state
        self.attributes = attributes or {}


class RetryContext:
    """Which attempt this is; always the first here."""

    __slots__ = ("exception", "max_retry_count", "retry_count")

    def __init__(self) -> None:
        self.retry_count = 0
        self.max_retry_count = 0
        self.exception: RpcException | None = None


class InvocationRequest:
    """Run one function; the two contexts may not be None."""

    __slots__ = ("function_id", "input_data", "invocation_id", "retry_context", "trace_context", "trigger_metadata")

    def __init__(  # noqa: PLR0917 - the library's names and order
        self,
        invocation_id: str,
        function_id: str,
        input_data: list[ParameterBinding],
        trigger_metadata: dict[str, TypedData],
        trace_context: RpcTraceContext,
        retry_context: RetryContext,
    ) -> None:
        self.invocation_id = invocation_id
        self.function_id = function_id
        self.input_data = input_data
        self.trigger_metadata = trigger_metadata
        self.trace_context = trace_context
        self.retry_context = retry_context
