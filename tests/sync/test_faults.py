"""Whatever stops a run becomes a fault with a policy and words for an administrator."""

import inspect
from types import ModuleType

import pytest

import graph.errors
import pbx.errors
import store.errors
from graph.aadsts import WORDS, from_entra
from sync.faults import MISSING_SECRETS, NotReady, Policy, explain

POLICIES: dict[type[Exception], Policy] = {
    graph.errors.GraphError: "bug",
    graph.errors.Retry: "retry",
    graph.errors.Throttled: "retry",
    graph.errors.Unavailable: "retry",
    graph.errors.ResyncRequired: "retry",
    graph.errors.NotFound: "bug",
    graph.errors.BadRequest: "bug",
    graph.errors.NotSubscribed: "bug",
    graph.errors.SubscriptionExists: "bug",
    graph.errors.QuotaReached: "bug",
    graph.errors.HandshakeFailed: "bug",
    graph.errors.Stop: "stop",
    graph.errors.CredentialsRejected: "stop",
    graph.errors.ConsentMissing: "stop",
    pbx.errors.PbxError: "bug",
    pbx.errors.Retry: "retry",
    pbx.errors.Unreachable: "retry",
    pbx.errors.OutcomeUnknown: "retry",
    pbx.errors.Busy: "retry",
    pbx.errors.ServerFault: "retry",
    pbx.errors.TokensExhausted: "retry",
    pbx.errors.ItemError: "retry",
    pbx.errors.Conflict: "retry",
    pbx.errors.Refused: "retry",
    pbx.errors.NotFound: "retry",
    pbx.errors.StillReferenced: "retry",
    pbx.errors.LimitReached: "retry",
    pbx.errors.FeatureMissing: "stop",
    pbx.errors.Stop: "stop",
    pbx.errors.CredentialsRejected: "stop",
    pbx.errors.Blocked: "stop",
    pbx.errors.ApiDisabled: "stop",
    pbx.errors.Untrusted: "stop",
    store.errors.StoreError: "bug",
    store.errors.StoreUnavailable: "retry",
    store.errors.AccessDenied: "stop",
    store.errors.Changed: "retry",
    store.errors.AlreadyExists: "bug",
    store.errors.SecretMissing: "stop",
    store.errors.LeaseLost: "retry",
    store.errors.AskedToStop: "retry",
    store.errors.InvalidRecord: "bug",
    store.errors.Misconfigured: "stop",
}


def errors_of(module: ModuleType) -> set[type[Exception]]:
    return {
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Exception) and kind.__module__ == module.__name__
    }


def raised(error: Exception) -> Exception:
    """``error`` with a traceback, as it arrives."""
    try:
        raise error
    except type(error) as caught:
        return caught


def test_every_error_of_the_gateways_and_the_store_has_a_policy() -> None:
    assert errors_of(graph.errors) | errors_of(pbx.errors) | errors_of(store.errors) == set(POLICIES)


@pytest.mark.parametrize("kind", POLICIES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_an_error_ends_a_run_by_its_policy_with_words(kind: type[Exception]) -> None:
    policy, fault = explain(raised(kind("these words")))
    assert policy == POLICIES[kind]
    assert fault.code
    assert "these words" in fault.message
    assert bool(fault.trace) == (policy == "bug")


ONLY_CHILDREN_ARE_RAISED = {graph.errors.Stop, pbx.errors.Stop}


@pytest.mark.parametrize(
    "kind",
    [kind for kind, policy in POLICIES.items() if policy != "bug" and kind not in ONLY_CHILDREN_ARE_RAISED],
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_everybody_is_told_what_to_do_or_that_nothing_is_to_do(kind: type[Exception]) -> None:
    assert explain(kind("these words"))[1].action.endswith(".")


@pytest.mark.parametrize("name", sorted(MISSING_SECRETS))
def test_a_missing_secret_is_called_by_its_name_and_its_address(name: str) -> None:
    policy, fault = explain(store.errors.SecretMissing(f"default-{name}"))
    assert (policy, fault.code) == ("stop", "secret_missing")
    assert fault.message.endswith("is not stored yet")
    assert fault.action.endswith(f"PUT /api/secrets/{name}.")


def test_rules_that_allow_no_run_stop_it_with_their_own_code() -> None:
    policy, fault = explain(NotReady("users_disabled", "it is off", "Switch it on."))
    assert (policy, fault.code, fault.message, fault.action) == ("stop", "users_disabled", "it is off", "Switch it on.")


@pytest.mark.parametrize("error", [ValueError("odd"), KeyError("odd"), ExceptionGroup("odd", [ValueError("deep")])])
def test_anything_else_is_a_bug_with_its_traceback(error: Exception) -> None:
    policy, fault = explain(raised(error))
    assert (policy, fault.code) == ("bug", "internal")
    assert "odd" in fault.message
    assert "test_faults.py" in fault.trace


def test_an_endless_traceback_is_kept_to_its_end() -> None:
    _, fault = explain(raised(ValueError("x" * 20_000 + "the end")))
    assert len(fault.trace) <= 8000
    assert fault.trace.rstrip().endswith("the end")


@pytest.mark.parametrize("number", sorted(WORDS))
def test_a_refused_sign_in_stops_with_its_own_code_words_and_action(number: int) -> None:
    policy, fault = explain(from_entra(f"AADSTS{number}: secret=hush Trace ID: 1", 401))
    assert policy == "stop"
    assert f"AADSTS{number}" in fault.message
    assert fault.action.endswith(".")
    assert "hush" not in fault.message
