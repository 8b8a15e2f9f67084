"""Moves the time of day of a whole process, for what the app asks of ``datetime`` and ``time``.

Monotonic clocks stay, and with them every time-out; so does what does not ask Python, such as TLS, which goes on
judging certificates by the machine's time.
"""

from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

from local.errors import LocalCloudError

if TYPE_CHECKING:
    import time_machine

_LIBRARY = "time_machine"


class CannotTravelError(LocalCloudError):
    """The library that moves the time is not installed."""


def check_can_travel() -> None:
    """Raises CannotTravelError when ``Traveller`` cannot work in a process of this Python."""
    if find_spec(_LIBRARY) is None:
        raise CannotTravelError(
            "the app's clock cannot be moved: the package time-machine is not installed. "
            "Install the development requirements: pip install -r requirements-dev.txt"
        )


class Traveller:
    """The time of this process. Until it is moved for the first time nothing is touched."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._journey: time_machine.Traveller | None = None

    def put_ahead(self, seconds: float) -> None:
        """Tell a time that is so far ahead of the machine's, and goes on from there."""
        # A library for development: only who moves the clock needs it.
        import time_machine

        if self._journey is None:
            self._journey = time_machine.travel(timedelta(seconds=seconds)).start()
            self._journey.time_ns()  # it stands still until it is asked for the first time
        else:
            self._journey.shift(seconds - self._ahead)
        self._ahead = seconds
