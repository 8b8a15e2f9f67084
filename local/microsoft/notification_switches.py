"""How notifications are delivered: what tests and people who try things out may turn."""

import msgspec


class NotificationSwitches(msgspec.Struct, forbid_unknown_fields=True):
    """Times are seconds of the emulator's clock."""

    window_seconds: float = 0.02
    """So long the first notification for an endpoint waits for others to travel in the same POST."""
    most_items: int = 50
    """As soon as so many wait for an endpoint, they travel."""
    first_retry_seconds: float = 10.0
    """Pause before the first retry; each further one is twice as long. The service does not publish its own."""
    posts_per_minute: int | None = None
    """An endpoint gets at most so many POSTs a minute; ``None`` for any number."""
    penalties: bool = True
    """Whether slow endpoints are served late and very slow ones not at all (``endpoints``)."""
    hold: bool = False
    """Nothing is sent, retries included, until this is turned off again."""
    drop_next: int = 0
    """So many notifications get lost; counts down."""
    repeat: int = 0
    """Every notification comes so many times more."""
    reorder: bool = False
    """Notifications that are sent together go in the reverse order."""
    unpromised_members: bool = True
    """Whether ``eventTime``, ``sequenceNumber`` and ``members@delta`` come along."""
    item_ids: bool = False
    """Whether each notification has the optional ``id``."""
    vary_casing: bool = False
    """The letter case of the resource's path and of ``@odata.type`` differs from notification to notification."""
    list_page_size: int = 100
    """Subscriptions on one page of ``GET /subscriptions``."""
    allow_http_loopback: bool = True
    """Whether a notification URL may be plain http when its host is a loopback one.

    Microsoft Graph takes https only. This is the emulator's one concession: the local Functions host speaks http.
    """

    def check(self) -> None:
        """``ValueError`` for a number that makes no sense."""
        posts = 1 if self.posts_per_minute is None else self.posts_per_minute
        if min(self.most_items, self.list_page_size, self.first_retry_seconds, posts) < 1:
            raise ValueError("most_items, list_page_size, first_retry_seconds and posts_per_minute start at 1")
        if min(self.window_seconds, self.drop_next, self.repeat) < 0:
            raise ValueError("window_seconds, drop_next and repeat cannot be negative")
