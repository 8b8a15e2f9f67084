"""Keeps Python's cyclic collector from walking a whole directory again and again."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def resting() -> Iterator[None]:
    """Leave what lives now out of cyclic garbage collection for the length of a block.

    A run holds a hundred thousand objects and more, all of them alive until its end, while each request makes a few
    short-lived cycles: without this a tenth of a first run's processor time goes into looking at the former.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
