"""htmx in the console is the file of the npm package that package.json pins."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COPIED = ROOT / "console" / "static"
PACKAGE = ROOT / "node_modules" / "htmx.org"


def test_the_copy_has_the_pinned_version() -> None:
    pinned = json.loads((ROOT / "package.json").read_text())["dependencies"]["htmx.org"]
    assert f'version:"{pinned}"' in (COPIED / "htmx.min.js").read_text(encoding="utf-8"), "run make vendor"


@pytest.mark.parametrize(("copy", "original"), [("htmx.min.js", "dist/htmx.min.js"), ("htmx.LICENSE", "LICENSE")])
def test_the_copy_is_the_package_s_file(copy: str, original: str) -> None:
    if not PACKAGE.is_dir():
        pytest.skip("the npm packages are not installed: npm ci installs them")
    assert (COPIED / copy).read_bytes() == (PACKAGE / original).read_bytes(), "run make vendor"
