"""A file of every request that reached the emulator, one JSON object a line, for checking them against the contract.

Tokens and passwords are in it as they were sent: it is for test data.
"""

import os
from pathlib import Path

import msgspec

from local.emulator import Recorded

ENVIRONMENT = "PBX_EMULATOR_JOURNAL"


class Journal:
    """Appends lines with one write each, so that several emulators can share a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)

    def write(self, record: Recorded) -> None:
        os.write(self._file, msgspec.json.encode(record) + b"\n")

    def close(self) -> None:
        os.close(self._file)


def journal_path(given: Path | None) -> Path | None:
    """``given``, or what ``PBX_EMULATOR_JOURNAL`` names."""
    named = os.environ.get(ENVIRONMENT)
    return given or (Path(named) if named else None)
