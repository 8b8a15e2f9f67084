"""The one client of the Open API.

HTTP 200 carries failures, so ``errcode`` decides. The PBX closes the connection after each answer. Deletes are GET
requests, so nothing is repeated because of its verb: only reads are, and writes that surely were not sent.
"""

import asyncio
import math
import ssl
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from pbx.address import Address
from pbx.errors import (
    ApiDisabled,
    Busy,
    FeatureMissing,
    NotFound,
    OutcomeUnknown,
    PbxError,
    Refused,
    Retry,
    ServerFault,
    TokensExhausted,
    Unreachable,
    Untrusted,
    from_errcode,
)
from pbx.models import (
    Answer,
    Capacity,
    CapacityAnswer,
    CreatedAnswer,
    Extension,
    ExtensionRow,
    Information,
    InformationAnswer,
    NewExtension,
    Page,
    Row,
    Rows,
    TokenAnswer,
)
from pbx.pacing import Pacer, concurrent_writes
from pbx.tokens import SharedToken

if TYPE_CHECKING:
    from aiohttp import ClientSession

USER_AGENT = "entra-bridge"
"""Mandatory on every request; any text is accepted."""
TIMEOUT_SECONDS = 15.0
CONNECT_SECONDS = 8.0
READS_AT_ONCE = 2
"""As many as writes where those are more."""
PAGE_SIZE = 200
"""Rows of a list page; only the contacts' limit is documented, 100 to 200 is known to work elsewhere."""
PAGES_AT_ONCE = 50
"""Pages that are asked for before it is looked again whether there are more."""
QUERY_IDS = 50
ATTEMPTS = 4
LIST_PASSES = 3
TOKEN_EXPIRED = 10004


class _Call(NamedTuple):
    """One request. ``lost`` is the error for an answer that says nothing: behind a write it may have been done."""

    verb: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any] | None
    lost: type[Retry]

    def signed(self, token: str) -> "_Call":
        return self._replace(query={**self.query, "access_token": token})


class Pbx:
    """The Open API of one PBX. Close it, or use it as an asynchronous context manager.

    Every method raises the errors of ``pbx.errors`` and, where a new token is needed, those of its store.
    """

    def __init__(self, address: Address, *, max_writes_per_second: float = 4, timeout: float = TIMEOUT_SECONDS) -> None:
        self._address = address
        self._timeout = timeout
        self.pacer = Pacer(max_writes_per_second)
        self._writes = asyncio.Semaphore(concurrent_writes(max_writes_per_second))
        self._reads = asyncio.Semaphore(max(READS_AT_ONCE, concurrent_writes(max_writes_per_second)))
        self._session: ClientSession | None = None
        self._token: SharedToken | None = None
        self.concurrency = concurrent_writes(max_writes_per_second)
        self.before_write: Callable[[], None] = lambda: None
        """Called right before each write is sent, also before one that is repeated; what it raises stops the write."""
        self.requests = 0
        self.writes = 0

    def sign_in_with(self, token: SharedToken) -> None:
        """Set where tokens come from; ``ask_token`` is what that source asks the PBX with."""
        self._token = token

    async def ask_token(self, path: str, body: dict[str, str]) -> TokenAnswer:
        """Post to a token endpoint, once. A refusal comes back as answer, not as error."""
        return await self._exchange(_Call("POST", path, {}, body, OutcomeUnknown), TokenAnswer)

    async def information(self) -> Information:
        """Model and firmware; ``ApiDisabled`` on a P520, which has no Open API."""
        information = (await self.read("system/information", {}, InformationAnswer)).data
        if "P520" in information.model_name:
            raise ApiDisabled("the P520 has no Open API; the bridge needs a P550 or larger, Software or Cloud Edition")
        return information

    async def capacity(self) -> Capacity:
        """How many extensions the licence allows and how many exist."""
        return (await self.read("system/capacity", {}, CapacityAnswer)).data

    async def extensions(self) -> list[ExtensionRow]:
        """Every extension, each once."""
        return await self.listed("extension/list", {}, Page[ExtensionRow])

    async def find_by_number(self, number: str) -> ExtensionRow | None:
        """The extension with exactly this number."""
        _, rows = await self._pages("extension/search", {"search_value": number}, Page[ExtensionRow])
        return next((row for row in rows if row.number == number), None)

    async def find_by_email(self, email: str) -> ExtensionRow | None:
        """The extension with exactly this e-mail address, in whatever case."""
        _, rows = await self._pages("extension/search", {"search_value": email}, Page[ExtensionRow])
        for row in rows:
            if (row.email_addr or "").casefold() == email.casefold():
                return row
        # Some firmware leaves the address out of its rows: then the extensions themselves have to be read.
        nameless = {row.id: row for row in rows if row.email_addr is None}
        for extension in await self.details(list(nameless)):
            if (extension.email_addr or "").casefold() == email.casefold():
                return nameless[extension.id]
        return None

    async def details(self, ids: Sequence[int]) -> list[Extension]:
        """The extensions with these ids; those that are gone are left out."""
        return await self.queried("extension/query", ids, Rows[Extension])

    async def create_extension(self, new: NewExtension) -> int:
        """Create an extension and answer its id. ``OutcomeUnknown``: it may exist, read again by number."""
        answer = await self.write("extension/create", new.body(), CreatedAnswer)
        if answer.id:
            return answer.id
        try:
            row = await self.find_by_number(new.number)
        except PbxError as error:
            # Whatever this read met, the extension is there: the caller must not take it for a create that failed.
            raise OutcomeUnknown(f"the PBX confirmed extension {new.number}, its id could not be read") from error
        if row is None:
            raise OutcomeUnknown(f"the PBX confirmed extension {new.number}, but does not list it")
        return row.id

    async def update_extension(self, extension_id: int, fields: Mapping[str, str]) -> None:
        """Overwrite the given fields; the others stay. Repeating it does no harm."""
        await self.write("extension/update", {"id": extension_id, **fields}, Answer)

    async def delete_extension(self, extension_id: int) -> None:
        """Delete an extension with its voicemail, for good. One that is gone already is a success."""
        await self.remove("extension/delete", extension_id)

    async def send_welcome_email(self, extension_id: int) -> None:
        """Have the PBX send the Linkus welcome e-mail to an extension with an e-mail address."""
        await self.write("extension/send_welcome_email", {"id_list": [extension_id]}, Answer)

    async def read[A: Answer](self, path: str, query: Mapping[str, str], kind: type[A]) -> A:
        """A read: repeated on anything that passes by itself."""
        async with self._reads:
            async for attempt in self._attempts(Retry):
                with attempt:
                    return await self._signed(_Call("GET", path, query, None, ServerFault), kind)
        raise AssertionError("unreachable: the last attempt raises")

    async def listed[R: Row](self, path: str, query: Mapping[str, str], kind: type[Page[R]]) -> list[R]:
        """Every row of a list, each once. Rows move between pages while somebody deletes, so the list is read again (up
        to three times) when it does not hold as many rows as it announced; ``ServerFault`` when it never does."""
        for _ in range(LIST_PASSES):
            totals, rows = await self._pages(path, query, kind)
            if len(totals) <= 1 and len(rows) >= max(totals, default=0):
                return rows
        raise ServerFault(f"{path} keeps changing while it is read; nothing was decided on a part of it")

    async def queried[R: Row](self, path: str, ids: Sequence[int], kind: type[Rows[R]]) -> list[R]:
        """The objects with these ids; those that are gone are left out."""
        wanted = list(dict.fromkeys(ids))
        found: list[R] = []
        for start in range(0, len(wanted), QUERY_IDS):
            found += await self._queried(path, wanted[start : start + QUERY_IDS], kind)
        return found

    async def write[A: Answer](self, path: str, body: Mapping[str, Any], kind: type[A]) -> A:
        """A write: repeated only when it surely was not carried out."""
        async with self._writes:
            async for attempt in self._attempts(Unreachable, Busy):
                with attempt:
                    await self.pacer.turn()
                    self.before_write()
                    self.writes += 1
                    return await self._signed(_Call("POST", path, {}, body, OutcomeUnknown), kind)
        raise AssertionError("unreachable: the last attempt raises")

    async def remove(self, path: str, object_id: int) -> None:
        """A deletion, which is a GET and never repeated. An object that is gone already is a success."""
        async with self._writes:
            await self.pacer.turn()
            self.before_write()
            self.writes += 1
            try:
                await self._signed(_Call("GET", path, {"id": str(object_id)}, None, OutcomeUnknown), Answer)
            except NotFound:
                return

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _pages[R: Row](
        self, path: str, query: Mapping[str, str], kind: type[Page[R]]
    ) -> tuple[set[int], list[R]]:
        """The totals that the pages announced and the distinct rows of a list or a search. A search is a substring
        match over several columns: the caller compares the column it means.

        A page may be shorter than asked for, and ``total_number`` may be missing: the end is where nothing new comes.
        """
        rows: dict[int, R] = {}
        totals: set[int] = set()
        pages = range(1, 2)
        while True:
            answers = await asyncio.gather(*(self._page(path, query, page, kind) for page in pages))
            before = len(rows)
            for answer in answers:
                rows.update((row.id, row) for row in answer.data or [])
                if answer.total_number is not None:
                    totals.add(answer.total_number)
            missing = max(totals, default=len(rows) + 1) - len(rows)
            if len(rows) == before or missing <= 0:
                return totals, list(rows.values())
            # As many more as are full of rows, side by side, when it is known how many rows there are.
            size = max(1, len(answers[0].data or []))
            more = min(PAGES_AT_ONCE, math.ceil(missing / size)) if totals else 1
            pages = range(pages.stop, pages.stop + more)

    async def _page[R: Row](self, path: str, query: Mapping[str, str], page: int, kind: type[Page[R]]) -> Page[R]:
        return await self.read(path, {**query, "page": str(page), "page_size": str(PAGE_SIZE)}, kind)

    async def _queried[R: Row](self, path: str, ids: Sequence[int], kind: type[Rows[R]]) -> list[R]:
        wanted = set(ids)
        try:
            answer = await self.read(path, {"ids": ",".join(map(str, ids))}, kind)
        except (NotFound, Refused) as error:
            if len(ids) == 1:
                if isinstance(error, NotFound):
                    return []
                raise
            # One missing id may fail the whole batch, and how many ids are allowed is not documented: halve it.
            middle = len(ids) // 2
            return [
                *await self._queried(path, ids[:middle], kind),
                *await self._queried(path, ids[middle:], kind),
            ]
        return [found for found in answer.data or [] if found.id in wanted]

    def _attempts(self, *kinds: type[PbxError]) -> AsyncRetrying:
        def passes(error: BaseException) -> bool:
            # A second 10004 is no matter of patience, and every further try would renew the token again.
            return (
                isinstance(error, kinds) and error.errcode != TOKEN_EXPIRED and not isinstance(error, TokensExhausted)
            )

        return AsyncRetrying(
            retry=retry_if_exception(passes),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.5, max=8),
            reraise=True,
        )

    async def _signed[A: Answer](self, call: _Call, kind: type[A]) -> A:
        """Send with the token; on 10004, and only then, once more with a new one."""
        token = await self._access_token()
        answer = await self._exchange(call.signed(token), kind)
        if answer.errcode == TOKEN_EXPIRED:
            token = await self._access_token(rejected=token)
            answer = await self._exchange(call.signed(token), kind)
        if answer.errcode == TOKEN_EXPIRED:
            raise ServerFault("the PBX calls a token expired that it has just issued", TOKEN_EXPIRED)
        if answer.errcode != 0:
            raise from_errcode(answer.errcode, answer.errmsg, _named(answer.invalid_param_list))
        return answer

    async def _access_token(self, rejected: str = "") -> str:
        try:
            return await self._signed_in().get(rejected)
        except OutcomeUnknown as error:
            # It is the sign-in that got no answer: the request it was for has not been sent.
            raise ServerFault(f"signing in failed: {error}", error.errcode) from None

    async def _exchange[A: Answer](self, call: _Call, kind: type[A]) -> A:
        """Send once and decode the answer, whatever its errcode."""
        status, raw = await self._send(call)
        if status == 404:
            raise FeatureMissing("there is no Yeastar Open API at this address (HTTP 404); check the FQDN and the port")
        if status != 200:
            raise call.lost(f"the PBX or the tunnel before it answers HTTP {status}")
        try:
            return _decoded(raw, kind)
        except msgspec.ValidationError as error:
            return _failure(raw, kind, error, call.lost)
        except msgspec.DecodeError:
            raise call.lost("the answer of the PBX is no JSON; is another web server at this address?") from None

    async def _send(self, call: _Call) -> tuple[int, bytes]:
        import aiohttp

        self.requests += 1
        url = f"{self._address.base_url}/{call.path}"
        data = None if call.body is None else msgspec.json.encode(call.body)
        headers = {} if call.body is None else {"Content-Type": "application/json"}
        session = self._open()
        try:
            # No redirects: they would carry the token and the passwords to wherever the answer points.
            async with session.request(
                call.verb, url, params=call.query, data=data, headers=headers, allow_redirects=False
            ) as response:
                return response.status, await response.read()
        except aiohttp.ClientConnectorCertificateError as error:
            raise Untrusted(_certificate_words(error.certificate_error)) from None
        except aiohttp.ClientConnectorSSLError:
            raise Unreachable("no TLS connection to the PBX can be made at this address and port") from None
        except (
            aiohttp.ClientConnectorError,
            aiohttp.ConnectionTimeoutError,
            aiohttp.InvalidURL,
            UnicodeError,  # a host name that IDNA cannot encode
        ) as error:
            raise Unreachable(_unreachable_words(error)) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # ``from None``: the library's errors carry the URL, and with it the token.
            raise OutcomeUnknown(f"the PBX did not answer {call.path} ({type(error).__name__})") from None

    def _open(self) -> "ClientSession":
        if self._session is None:
            import aiohttp

            try:
                context = self._address.tls()
            except ssl.SSLError:
                raise Untrusted("pbx.ca_certificate holds no certificate that can be used") from None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, force_close=True, limit=16),
                timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=min(CONNECT_SECONDS, self._timeout)),
                headers={"User-Agent": USER_AGENT},
                trust_env=False,
            )
            # aiohttp sends a GET once more when the connection breaks, and deletes are GETs. There is no public switch.
            self._session._retry_connection = False  # noqa: SLF001
        return self._session

    def _signed_in(self) -> SharedToken:
        if self._token is None:
            raise RuntimeError("sign_in_with() comes before the first request")
        return self._token


def _decoded[A: Answer](raw: bytes, kind: type[A]) -> A:
    """Decode leniently: numbers may come as texts. ``msgspec.DecodeError`` for whatever is no such JSON."""
    try:
        return msgspec.json.decode(raw, type=kind, strict=False)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(type(error).__name__) from None


def _failure[A: Answer](raw: bytes, kind: type[A], error: msgspec.ValidationError, lost: type[Retry]) -> A:
    """An error may carry any payload: read the envelope alone. A success of the wrong shape is a fault."""
    try:
        answer = _decoded(raw, Answer)
    except msgspec.DecodeError:
        raise lost("the answer of the PBX has no errcode; is this a Yeastar P-Series?") from None
    if answer.errcode == 0:
        raise lost(f"the PBX answers in an unknown shape: {error}") from None
    return kind(errcode=answer.errcode, errmsg=answer.errmsg, invalid_param_list=answer.invalid_param_list)


def _named(invalid: Any) -> str:
    """The parameters that the PBX complains about, without their values: a password may be among them."""
    if not isinstance(invalid, list):
        return ""
    names = [entry.get("name") for entry in invalid if isinstance(entry, dict)]
    return ", ".join(str(name) for name in names if name)


def _certificate_words(error: Exception) -> str:
    reason = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else type(error).__name__
    return f"the certificate of the PBX cannot be verified: {reason}"


def _unreachable_words(error: Exception) -> str:
    reason = getattr(error, "os_error", None)
    return f"no connection to the PBX ({reason.strerror if reason and reason.strerror else type(error).__name__})"
