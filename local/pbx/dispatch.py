"""From a request to its answer: admission, token, input, and the endpoint's own work, in this order."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from local.pbx import auth, extensions, group_endpoints, monitors, system
from local.pbx.answers import Errcode, Payload, Problem, Refused, failure, refusal, success
from local.pbx.endpoints import Call, Endpoint, Reads, Writes
from local.pbx.firmware import WriteOutcome
from local.pbx.intake import Incoming, Read, read
from local.pbx.machine import Machine
from local.pbx.validation import unwelcome
from local.pbx.violations import Violations

ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    (endpoint.method, endpoint.path): endpoint
    for module in (auth, system, extensions, group_endpoints, monitors)
    for endpoint in module.ENDPOINTS
}
MODELS_WITHOUT_API = ("P520",)


class Dispatcher:
    """Answers requests from ``machine`` and notes what was wrong with them in ``violations``."""

    def __init__(self, machine: Machine, violations: Violations) -> None:
        self._machine = machine
        self._violations = violations

    def read(self, incoming: Incoming) -> Read:
        """Read a request against the documentation, whatever will be answered to it."""
        request = read(incoming, ENDPOINTS)
        self._note(request, request.problems)
        return request

    def answer(self, request: Read, outcome: WriteOutcome | None = None) -> Payload:
        """The answer to ``request``; ``outcome`` overrides the firmware's for a write."""
        self._machine.settle()
        try:
            return success(self._serve(request, outcome or self._machine.firmware.write_outcome))
        except Refused as refused:
            return failure(refused, self._skeleton(request.endpoint))

    def _skeleton(self, endpoint: Endpoint | None) -> Mapping[str, object]:
        return endpoint.skeleton if endpoint is not None and self._machine.firmware.error_skeleton else {}

    def _serve(self, request: Read, outcome: WriteOutcome) -> Payload:
        self._admit(request.incoming.caller)
        if request.endpoint is None or not request.endpoint.offered(self._machine.firmware):
            raise Refused(Errcode.NO_ENDPOINT)
        self._check_token(request.endpoint, request.token)
        self._check_input(request)
        self._check_busy(request.endpoint)
        call = Call(request.incoming.caller, request.token or "", request.query, request.body)
        try:
            return self._work(request.endpoint, call, outcome)
        except Refused as refused:
            self._note(request, refused.problems)
            raise

    def _admit(self, caller: str) -> None:
        machine, now = self._machine, self._machine.clock.time()
        if machine.firmware.model in MODELS_WITHOUT_API:
            raise Refused(machine.firmware.no_api_errcode)
        until = machine.blocked.blocked_until(caller, now)
        if until is not None:
            raise Refused(Errcode.IP_BLOCKED, block_expire_time=int(until))
        if not machine.application.permits(caller):
            raise Refused(Errcode.IP_NOT_PERMITTED)
        if not machine.application.enabled:
            raise Refused(Errcode.API_DISABLED)

    def _check_token(self, endpoint: Endpoint, token: str | None) -> None:
        if endpoint.needs_token and not self._machine.tokens.accepts(token or "", self._machine.clock.time()):
            raise Refused(Errcode.TOKEN_EXPIRED)

    def _check_input(self, request: Read) -> None:
        refuse_unknown = self._machine.firmware.unknown_parameters == "refuse"
        problems = [*request.refusable, *(request.undocumented if refuse_unknown else [])]
        if problems:
            raise refusal(problems)

    def _check_busy(self, endpoint: Endpoint) -> None:
        busy = self._machine.firmware.busy
        if endpoint.needs_token and (busy == "all" or (busy == "writes" and isinstance(endpoint.work, Writes))):
            raise Refused(Errcode.BUSY)

    def _work(self, endpoint: Endpoint, call: Call, outcome: WriteOutcome) -> Payload:
        machine, work = self._machine, endpoint.work
        if isinstance(work, Reads):
            return work.answer(machine, call)
        if outcome == "in_progress":
            machine.postpone(lambda: work.plan(machine, call))
            return {"errcode": Errcode.PROCESSING}
        if outcome == "partial":
            return self._partial(work, call)
        return work.plan(machine, call)()

    def _partial(self, work: Writes, call: Call) -> Payload:
        """Errcode 1: everything is stored but ``partial_members``."""
        left_out = [name for name in call.body if name in self._machine.firmware.partial_members]
        kept = {name: value for name, value in call.body.items() if name not in left_out}
        payload = work.plan(self._machine, replace(call, body=kept))()
        entries = [unwelcome(name, call.body[name], "was not stored").entry() for name in left_out]
        return {**payload, "errcode": Errcode.PARTIAL, **({"invalid_param_list": entries} if entries else {})}

    def _note(self, request: Read, problems: Iterable[Problem]) -> None:
        incoming, at = request.incoming, self._machine.clock.now().isoformat()
        self._violations.note(incoming.number, at, incoming.method, incoming.path, problems)
