"""The rules for users, and the preview of what they would do."""

from starlette.responses import Response

from console.app import Pages
from console.preview import show_preview
from console.rule_pages import USERS, posted, save_previewed, show
from console.visit import Visit

pages = Pages()


@pages.get("/console/users")
async def user_rules(visit: Visit) -> Response:
    """The rules as a form."""
    return await show(visit, USERS)


@pages.post("/console/users")
async def change_user_rules(visit: Visit) -> Response:
    """A button of the form: save, preview, or choose groups."""
    return await posted(visit, USERS)


@pages.get("/console/users/preview/{run_id}")
async def user_preview(visit: Visit) -> Response:
    """What the rules that were typed would do."""
    return await show_preview(visit, USERS.kind)


@pages.post("/console/users/preview/{run_id}")
async def save_user_preview(visit: Visit) -> Response:
    """Save the rules of the preview."""
    return await save_previewed(visit, USERS)
