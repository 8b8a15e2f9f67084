"""Checks of a page with axe-core, light and dark, on a desktop and on a phone."""

from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.async_api import Page

from tests.browser.watch import DESKTOP, PHONE

AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
VIEWPORTS = {"desktop": DESKTOP, "phone": PHONE}
RUN = """async (tags) => {
    const options = { runOnly: { type: "tag", values: tags }, resultTypes: ["violations"] };
    return (await axe.run(document, options)).violations;
}"""
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def check_accessible(page: Page) -> None:
    """``AssertionError`` that lists what axe finds, and a page that is wider than the screen (WCAG 1.4.10, Reflow).

    The page is left light and as wide as it was. It needs scripts.
    """
    before = page.viewport_size or DESKTOP
    found: dict[str, list[str]] = {}
    for scheme in SCHEMES:
        for name, viewport in VIEWPORTS.items():
            await page.emulate_media(color_scheme=scheme)
            await page.set_viewport_size(viewport)
            for problem in await _problems(page):
                found.setdefault(problem, []).append(f"{scheme} {name}")
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size(before)
    lines = [f"{problem}\n    seen: {', '.join(views)}" for problem, views in found.items()]
    assert not lines, "\n".join([f"{page.url} is not accessible to everybody:", *lines])


async def _problems(page: Page) -> list[str]:
    if not AXE.exists():
        pytest.fail(f"{AXE} is missing: npm ci installs it")
    # The debugger evaluates this, outside the page's Content-Security-Policy, which stays as strict as it is.
    if not await page.evaluate("typeof axe === 'object'"):
        await page.evaluate(AXE.read_text(encoding="utf-8"))
    problems = [_told(violation) for violation in await page.evaluate(RUN, RULES)]
    wider = await page.evaluate(OVERFLOW)
    return [*problems, *([f"the page is {wider} pixels wider than the screen"] if wider > 0 else [])]


def _told(violation: dict[str, Any]) -> str:
    lines = [f"{violation['id']} ({violation['impact']}): {violation['help']}, see {violation['helpUrl']}"]
    for node in violation["nodes"]:
        lines += [f"    at {' '.join(map(str, node['target']))}: {node['html']}"]
        lines += [f"       {line}" for line in node["failureSummary"].splitlines()]
    return "\n".join(lines)
