"""Pictures of the pages for the documentation: taken by ``make images``, in every other run only asked for."""

import os
import re
from pathlib import Path

from playwright.async_api import Page

VARIABLE = "WRITE_IMAGES"
FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"


async def screenshot(page: Page, name: str, *, whole: bool = False, folder: Path = FOLDER) -> None:
    """Write ``docs/images/<name>.png`` if the environment says so; ``whole`` shows what has to be scrolled to, too.

    ``ValueError`` for a name that is not lower case letters, digits and hyphens.
    """
    if not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"a picture's name is lower case letters, digits and hyphens, not {name!r}")
    if os.environ.get(VARIABLE):
        await page.screenshot(path=folder / f"{name}.png", full_page=whole, animations="disabled", caret="hide")
