"""How much memory this process needed at most."""

import re
from pathlib import Path


def peak_mb() -> float:
    """The peak of resident memory in MB. Not ``ru_maxrss``: there a child begins with the peak of who started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) / 1024
