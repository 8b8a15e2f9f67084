"""Turns whatever stopped a run into a fault that an administrator can act on. The class of the error is the policy."""

import traceback
from typing import Literal

import graph.errors
import pbx.errors
import store.errors
from store.runs import Fault

type Policy = Literal["retry", "stop", "bug"]

MISSING_SECRETS = {
    "entra-client-secret": (
        "the client secret of the Entra application is not stored yet",
        "Store it: PUT /api/secrets/entra-client-secret.",
    ),
    "entra-client-certificate": (
        "the certificate of the Entra application is not stored yet",
        "Store it with its private key as PEM: PUT /api/secrets/entra-client-certificate.",
    ),
    "pbx-client-secret": (
        "the Client Secret of the PBX's API is not stored yet",
        "Store it: PUT /api/secrets/pbx-client-secret.",
    ),
}


class NotReady(Exception):
    """The rules or the connection do not allow a run now; an administrator has to change something."""

    def __init__(self, code: str, message: str, action: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.action = action


def explain(error: BaseException) -> tuple[Policy, Fault]:
    """The policy and the words for an error that ended a run."""
    match error:
        case NotReady():
            return "stop", Fault(error.code, str(error), error.action)
        case store.errors.SecretMissing():
            # The secret of a connection other than the first carries the connection's id before its name.
            known = (words for name, words in MISSING_SECRETS.items() if error.name.endswith(name))
            message, action = next(known, (str(error), "Store the secret."))
            return "stop", Fault("secret_missing", message, action)
        case store.errors.Misconfigured():
            return "stop", Fault("misconfigured", str(error), "Correct the application settings of the function app.")
        case store.errors.AccessDenied():
            return "stop", Fault("storage_denied", str(error), "Grant the function app's identity its roles again.")
        case store.errors.StoreUnavailable() | store.errors.Changed():
            return "retry", Fault("storage_unavailable", str(error), "The bridge tries again by itself.")
        case store.errors.LeaseLost() | store.errors.AskedToStop():
            return "retry", Fault("lease_lost", str(error), "The bridge tries again by itself.")
        case graph.errors.ResyncRequired():
            words = "Graph broke the read of the directory off twice"
            return "retry", Fault("graph_resync", f"{words}: {error}", "The bridge tries again by itself.")
        case graph.errors.Retry() | pbx.errors.Retry():
            return "retry", Fault(error.code, str(error), error.action)
        case graph.errors.ConsentMissing() | graph.errors.Stop() | pbx.errors.Stop() | pbx.errors.FeatureMissing():
            return "stop", Fault(error.code, str(error), error.action)
        case pbx.errors.LimitReached():
            return "retry", Fault(error.code, str(error), "The bridge tries again by itself.")
        case pbx.errors.ItemError():
            # Of one object it is an item's fault. What ends a run is a read that all the rest depends on.
            action = "The bridge tries again by itself. If it lasts, report the message with the firmware of the PBX."
            return "retry", Fault(error.code, f"the PBX refuses to be read: {error}", action)
        case _:
            text = "".join(traceback.format_exception(error))[-8000:]
            return "bug", Fault("internal", f"a fault of the bridge itself: {type(error).__name__}: {error}", "", text)
