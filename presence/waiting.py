"""Who waits to be written to the PBX. Pure."""

import bisect
from collections.abc import Container

type Rank = tuple[str, int, int]


class Waiting:
    """Users by object id, each with the moment that the newest was heard of him (RFC 3339, UTC)."""

    def __init__(self) -> None:
        self._rank: dict[str, Rank] = {}
        self._order: list[tuple[Rank, str]] = []
        """The newest last, with entries that do not count any more."""
        self._count = 0

    def __len__(self) -> int:
        return len(self._rank)

    def __contains__(self, object_id: str) -> bool:
        return object_id in self._rank

    def add(self, object_id: str, heard_at: str, turn: int = 0) -> None:
        """``turn`` tells whose notification came later within a millisecond; of the same one the last user added is the
        newest. Nobody gets older."""
        self._count += 1
        rank = heard_at, turn, self._count
        if self._rank.get(object_id, ("", 0, 0)) < rank:
            self._rank[object_id] = rank
            bisect.insort(self._order, (rank, object_id))

    def take_newest(self, but: Container[str] = ()) -> str | None:
        """Whose turn it is, who waits no more then; ``None`` when nobody waits but for these."""
        for place in reversed(range(len(self._order))):
            rank, object_id = self._order[place]
            if self._rank.get(object_id) != rank:
                del self._order[place]
            elif object_id not in but:
                del self._order[place], self._rank[object_id]
                return object_id
        return None

    def clear(self) -> list[str]:
        """Nobody waits any more; answers who did."""
        ids = list(self._rank)
        self._rank.clear()
        self._order.clear()
        return ids
