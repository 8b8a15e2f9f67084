"""Every request that the product sent to the emulated PBX in the whole suite, held against the vendor's contract.

With several workers it runs when there is no other file left to begin: what another one still sends is not judged.
"""

import pytest

from tests.conftest import JOURNALS
from tests.pbx_emulator.contract import SPEC, check_recorded, read_journal


@pytest.mark.last
@pytest.mark.skipif(not SPEC.exists(), reason="the Open API contract is not part of this checkout")
def test_every_request_of_the_suite_keeps_to_the_contract() -> None:
    journals = list(JOURNALS.glob("pbx-requests-*.jsonl"))
    if not journals:
        pytest.skip("no test before this one sent anything to the emulated PBX")
    requests = [
        request
        for journal in journals
        for request in read_journal(journal)
        if request.headers.get("User-Agent", "").startswith("entra-bridge")  # the product, not a test's own client
    ]
    assert requests
    assert check_recorded(requests, SPEC) == []
