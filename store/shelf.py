"""What a process read or wrote last, so that it need not read it again. Pure.

Reads take a while, and what is written meanwhile is newer than what they find. So a read notes the moment before it
begins, and gives way to whatever was put on the shelf or taken from it since.
"""

from collections.abc import Iterable, Mapping

SHELVED = 20_000
"""Records on a shelf at most; that of a user takes about a kilobyte."""


class Shelf[T]:
    """Records by key. Another process may have changed them since: a write that rests on them is refused then."""

    def __init__(self, most: int = SHELVED) -> None:
        self._most = most
        self._kept: dict[str, tuple[int, T | None]] = {}
        """With the moment that each is of. ``None``: taken away then."""
        self._moment = 0
        self._cleared = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> T | None:
        """The record with this key, if it is here."""
        _, record = self._kept.get(key, (0, None))
        return record

    def moment(self) -> int:
        """The present one: note it before a read begins, or take it when a write has ended."""
        self._moment += 1
        return self._moment

    def put(self, found: Mapping[str, T], moment: int, missing: Iterable[str] = ()) -> None:
        """Put what is of this moment on the shelf, and take away what is missing, but where something newer is known.
        A shelf that would hold too much is emptied."""
        if moment < self._cleared:
            return
        for key, record in (*found.items(), *((key, None) for key in missing)):
            if self._kept.get(key, (0, None))[0] <= moment:
                self._kept[key] = moment, record
        if len(self._kept) > self._most:
            self.clear()

    def put_all(self, found: Mapping[str, T], moment: int) -> None:
        """The same when there is nothing else: what is older and not among it is forgotten."""
        self._kept = {key: kept for key, kept in self._kept.items() if kept[0] > moment}
        self._cleared = max(self._cleared, moment)  # with what was forgotten, whatever began to be read before it
        self.put(found, moment)

    def take(self, keys: Iterable[str]) -> None:
        """Take away what somebody else changed, or may have."""
        self.put({}, self.moment(), keys)

    def clear(self) -> None:
        """Forget everything, also what is being read now."""
        self._kept.clear()
        self._cleared = self.moment()
