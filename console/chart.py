"""A drawing of what changed from day to day, made of rectangles; a table beside it says the same. Pure."""

import datetime
from collections.abc import Sequence

import msgspec

from sync.history import Day

WIDTH = 600
HEIGHT = 124
FLOOR = 104
"""Where the bars stand; beneath them are the days."""
KINDS = ("created", "associated", "updated", "deleted", "released", "failed")
"""From the bottom of a bar upward; also the names of the colours."""
SEEN = 2.0
"""So high is a single change among thousands, to be seen at all."""
LABELS_APART = 7
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Block(msgspec.Struct, frozen=True):
    """A part of a bar."""

    kind: str
    x: float
    y: float
    width: float
    height: float


class Label(msgspec.Struct, frozen=True):
    """A day beneath the bars."""

    x: float
    words: str


class Chart(msgspec.Struct, frozen=True):
    """What a template draws."""

    days: Sequence[Day]
    blocks: list[Block]
    labels: list[Label]
    totals: dict[str, int]
    """By kind, those that occurred."""
    width: int = WIDTH
    height: int = HEIGHT
    floor: int = FLOOR

    @property
    def words(self) -> str:
        """The whole drawing in a sentence."""
        span = f"in the last {len(self.days)} days" if self.days[1:] else "today"
        parts = [f"{number:,} {kind}" for kind, number in self.totals.items()]
        if not parts:
            return f"Nothing changed {span}."
        return f"{', '.join(parts[:-1])}{' and ' if parts[1:] else ''}{parts[-1]} {span}."

    @property
    def busy(self) -> list[tuple[str, list[int]]]:
        """The days on which something changed, newest first, with the numbers of the kinds in ``totals``."""
        rows = [(day.date, [getattr(day, kind) for kind in self.totals]) for day in reversed(self.days)]
        return [row for row in rows if any(row[1])]


def drawn(days: Sequence[Day]) -> Chart:
    """The chart of some days, oldest first."""
    peak = max((sum(number for _, number in numbers(day)) for day in days), default=0)
    step = WIDTH / max(1, len(days))
    blocks = [block for index, day in enumerate(days) for block in _bar(day, index * step, step, peak)]
    labels = [
        Label(round((index + 0.5) * step, 1), _short(day.date))
        for index, day in enumerate(days)
        if (len(days) - 1 - index) % LABELS_APART == 0
    ]
    sums = {kind: sum(getattr(day, kind) for day in days) for kind in KINDS}
    return Chart(days, blocks, labels, {kind: number for kind, number in sums.items() if number})


def numbers(day: Day) -> list[tuple[str, int]]:
    """What happened on a day, by kind."""
    return [(kind, getattr(day, kind)) for kind in KINDS]


def _bar(day: Day, x: float, step: float, peak: int) -> list[Block]:
    """The blocks of a day, one upon the other; the highest bar is as high as the drawing."""
    blocks: list[Block] = []
    top = float(FLOOR)
    room = FLOOR - SEEN * len(KINDS)
    for kind, number in numbers(day):
        if number:
            height = max(SEEN, number / peak * room)
            top -= height
            blocks.append(Block(kind, round(x + step * 0.1, 1), round(top, 1), round(step * 0.8, 1), round(height, 1)))
    return blocks


def _short(date: str) -> str:
    """``2 Mar``, in English whatever the locale of the host is."""
    day = datetime.date.fromisoformat(date)
    return f"{day.day} {MONTHS[day.month - 1]}"
