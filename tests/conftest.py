"""What all tests share: one private authority, one Azurite, and a journal of every request to an emulated PBX."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from local.azurite import Azurite
from local.tls import CertificateAuthority

# aiohttp reads the trusted authorities when it is imported, so nothing above may import it.
FOLDER = Path(tempfile.mkdtemp(prefix="tests-"))
AUTHORITY = CertificateAuthority(FOLDER)
# Each worker of a parallel run writes a journal of its own, all of them in the folder of whoever was first.
JOURNALS = Path(os.environ.setdefault("TESTS_JOURNALS", str(FOLDER)))
JOURNAL = JOURNALS / f"pbx-requests-{os.getpid()}.jsonl"
for name in ("SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
    os.environ.pop(name, None)
os.environ["SSL_CERT_FILE"] = str(AUTHORITY.certificate_file)
os.environ["PBX_EMULATOR_JOURNAL"] = str(JOURNAL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The replay of the journal comes last: it judges what all the other tests made the product send."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


def pytest_unconfigure() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def azurite() -> AsyncIterator[Azurite]:
    """One Azurite for all tests; each uses names of its own in it."""
    async with Azurite() as azurite:
        yield azurite
