"""What Graph and Entra can answer besides data, named by what the caller has to do.

::

    GraphError
    ├── Retry                    try again later; nothing is wrong with the request
    │   ├── Throttled            429, with the pause that Graph asks for
    │   └── Unavailable          5xx, no connection, half an answer
    ├── ResyncRequired           the delta link is no longer good: read everything
    ├── NotFound                 the object does not exist (any more)
    ├── BadRequest               Graph does not understand the request: a fault of ours
    ├── NotSubscribed            Graph makes no subscription; reading goes on without it
    │   ├── SubscriptionExists   409: look for the one that is there
    │   ├── HandshakeFailed      Graph cannot reach our notification address
    │   └── QuotaReached         too many subscriptions in the tenant
    └── Stop                     an administrator is needed; asking again would not help
        ├── CredentialsRejected  Entra does not accept the application's credential
        └── ConsentMissing       the application lacks a permission

The libraries' own errors never leave this room, and no text here holds a token.
"""


class GraphError(Exception):
    """Base of everything this gateway raises."""

    code = "graph_error"
    """For machines; stable."""
    action = ""
    """What an administrator can do about it."""


class Retry(GraphError):
    """Try again later."""

    code = "graph_unavailable"
    action = "The bridge tries again by itself."


class Throttled(Retry):
    """Too many requests. ``retry_after`` is Graph's own wish in seconds, where it named one."""

    code = "graph_throttled"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(Retry):
    """Graph or Entra cannot be reached, fails, or cut its answer off."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ResyncRequired(GraphError):
    """The delta link expired or was withdrawn; a full read is needed."""

    code = "graph_resync"


class NotFound(GraphError):
    """The object does not exist in the directory."""

    code = "graph_not_found"


class BadRequest(GraphError):
    """Graph refuses the request itself."""

    code = "graph_bad_request"


class NotSubscribed(GraphError):
    """Graph refuses to make a subscription. Nothing else stops because of it: changes are found by reading as well."""

    code = "graph_not_subscribed"


class SubscriptionExists(NotSubscribed):
    """The application has a subscription for the same changes of the same resource."""

    code = "graph_subscription_exists"
    action = "Remove the other subscription, or give each deployment an app registration of its own."


class HandshakeFailed(NotSubscribed):
    """Graph called the notification address and did not get the expected answer within 10 s."""

    code = "graph_handshake_failed"
    action = (
        "Make the address in the app setting PUBLIC_BASE_URL reachable from the internet, with a certificate of a "
        "public authority and no sign-in before it."
    )


class QuotaReached(NotSubscribed):
    """Graph allows 100 subscriptions an application and tenant, and 1,000 a tenant."""

    code = "graph_quota_reached"
    action = "Remove subscriptions that nobody uses any more."


class Stop(GraphError):
    """An administrator is needed."""

    code = "graph_stopped"

    def __init__(self, message: str, action: str = "", code: str = "") -> None:
        super().__init__(message)
        self.action = action or type(self).action
        self.code = code or type(self).code


class CredentialsRejected(Stop):
    """Entra rejects the application's client secret, certificate, id or tenant."""

    code = "entra_credentials_rejected"
    action = "Compare the tenant id and the client id with the app registration, and store a valid credential."


class ConsentMissing(Stop):
    """A permission is missing, or its consent was withdrawn."""

    code = "graph_consent_missing"
    action = (
        "In the Entra admin center, open the app registration > API permissions, add the application permissions "
        "User.Read.All and Group.Read.All and grant admin consent."
    )
