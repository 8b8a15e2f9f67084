"""The rules for groups, and the preview of what they would do."""

from starlette.responses import Response

from console.app import Pages
from console.preview import show_preview
from console.rule_pages import GROUPS, posted, save_previewed, show
from console.visit import Visit

pages = Pages()


@pages.get("/console/groups")
async def group_rules(visit: Visit) -> Response:
    """The rules as a form."""
    return await show(visit, GROUPS)


@pages.post("/console/groups")
async def change_group_rules(visit: Visit) -> Response:
    """A button of the form: save, preview, or choose groups."""
    return await posted(visit, GROUPS)


@pages.get("/console/groups/preview/{run_id}")
async def group_preview(visit: Visit) -> Response:
    """What the rules that were typed would do."""
    return await show_preview(visit, GROUPS.kind)


@pages.post("/console/groups/preview/{run_id}")
async def save_group_preview(visit: Visit) -> Response:
    """Save the rules of the preview."""
    return await save_previewed(visit, GROUPS)
