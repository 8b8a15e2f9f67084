"""What the tests of the gateway share besides fixtures."""

import time
from typing import Any

from local.emulator import Fault
from local.pbx.emulator import PbxEmulator
from pbx.address import Address
from pbx.client import Pbx
from pbx.models import NewExtension
from pbx.tokens import Credentials, SharedText, SharedToken

CLIENT_ID = "bridge"
CLIENT_SECRET = "s3cr3t-of-the-bridge"
API = "/openapi/v1.0"


class MemoryText:
    """A shared text in memory that counts how often it is touched."""

    def __init__(self) -> None:
        self.text = ""
        self.version = 0
        self.touched = 0

    async def read(self) -> tuple[str, str]:
        self.touched += 1
        return self.text, f"{self.version}" if self.version else ""

    async def swap(self, text: str, etag: str) -> str | None:
        self.touched += 1
        if etag != (f"{self.version}" if self.version else ""):
            return None
        self.text, self.version = text, self.version + 1
        return f"{self.version}"


class Office:
    """An emulated PBX and the processes of one deployment that speak to it."""

    def __init__(self, emulator: PbxEmulator, text: SharedText) -> None:
        self.emulator = emulator
        self.text = text
        self.secret = CLIENT_SECRET
        self.version = "v1"
        self.ahead = 0.0
        self._opened: list[Pbx] = []

    @property
    def memory(self) -> MemoryText:
        assert isinstance(self.text, MemoryText)
        return self.text

    def now(self) -> float:
        return time.time() + self.ahead

    def advance(self, seconds: float) -> None:
        """Move the clock of the deployment and that of the PBX."""
        self.ahead += seconds
        self.emulator.clock.offset += seconds

    def client(self, **options: Any) -> Pbx:
        """A client with nothing in its memory, as a new process has it."""
        address = options.pop("address", None) or Address(self.emulator.url.removeprefix("https://"))
        pbx = Pbx(address, max_writes_per_second=options.pop("max_writes_per_second", 1000), **options)
        pbx.sign_in_with(SharedToken(self.text, self._credentials, self._mark, pbx.ask_token, self.now))
        self._opened.append(pbx)
        return pbx

    async def _credentials(self) -> Credentials:
        return Credentials(CLIENT_ID, self.secret, await self._mark())

    async def _mark(self) -> str:
        return f"{CLIENT_ID}|{self.version}"

    def fault(self, kind: str, path: str = "*", **members: Any) -> Fault:
        fault = Fault(kind=kind, path=f"{API}/{path}", **members)
        self.emulator.faults.append(fault)
        return fault

    def errcode(self, errcode: int, path: str = "*", **members: Any) -> Fault:
        return self.fault("errcode", path, options={"errcode": errcode}, **members)

    def firmware(self, **switches: Any) -> None:
        import msgspec

        self.emulator.machine.firmware = msgspec.structs.replace(self.emulator.machine.firmware, **switches)

    def sent(self, path: str = "") -> list[str]:
        """The endpoints that were asked, in order, or those that end in ``path``."""
        asked = [record.path.removeprefix(f"{API}/") for record in self.emulator.requests]
        return [one for one in asked if one.endswith(path)]

    def issued(self) -> list[str]:
        """The requests for tokens and what became of them."""
        return [f"{one.kind} {one.outcome}" for one in self.emulator.machine.tokens.history]

    def numbers(self) -> list[str]:
        return sorted(extension.number for extension in self.emulator.machine.directory)

    async def close(self) -> None:
        for pbx in self._opened:
            await pbx.close()


def new(number: str = "2000", **fields: str) -> NewExtension:
    return NewExtension(
        number=number, user_password="Quiet7Harbor2Lantern", reg_password="Maple5Window8Thunder", fields=fields
    )
