"""Debian's Chromium for the tests: where it is, and how it is started so that it trusts the servers of a test only.

The local cloud's authority is new at each start and belongs in no trust store. Chromium is therefore told the public
keys of the servers (``--ignore-certificate-errors-spki-list``, which works in the fresh profile that Playwright gives
it): these servers and no others pass, every other certificate error stays an error. Importing the authority into a
profile needs ``certutil``, which is not everywhere, and ``ignore_https_errors`` would hide every mistake in the
certificates' use. What this does not check is the names and dates in those certificates: clients with OpenSSL do,
in the tests of the emulators.
"""

import base64
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.async_api import Browser, Playwright

VARIABLE = "CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = f"there is no Chromium: install it (apt-get install chromium), or name one with {VARIABLE}=/path/to/chromium"
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)


class Site(msgspec.Struct, frozen=True):
    """The servers of a test: ``origins`` that pages may load from, ``certificates`` (PEM) of those with https."""

    origins: frozenset[str]
    certificates: tuple[Path, ...] = ()


def find() -> str | None:
    """The program to start; ``None`` when there is none. ``FileNotFoundError`` for a wrong ``CHROMIUM``."""
    named = os.environ.get(VARIABLE)
    if named:
        if not shutil.which(named):
            raise FileNotFoundError(f"{VARIABLE}={named} is no program that can be started")
        return named
    return next((found for name in NAMES if (found := shutil.which(name))), None)


async def launch(playwright: Playwright, program: str, certificates: Iterable[Path], home: Path) -> Browser:
    """Start with a fresh profile; ``home`` takes what Chromium would leave in the home directory."""
    keys = ",".join(public_key_hash(file) for file in certificates)
    return await playwright.chromium.launch(
        executable_path=program,
        args=[*FLAGS, *([f"--ignore-certificate-errors-spki-list={keys}"] if keys else [])],
        chromium_sandbox=os.geteuid() != 0,  # Chromium's sandbox refuses to work for root
        env={**os.environ, "HOME": str(home)},
    )


def public_key_hash(certificate: Path) -> str:
    """SHA-256 of the SubjectPublicKeyInfo in base64, as Chromium and RFC 7469 name a key."""
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    return base64.b64encode(
        hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    ).decode()
