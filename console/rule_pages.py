"""The page of one kind's rules: show them, choose groups, preview what was typed, save it."""

from collections.abc import Sequence

import msgspec
from starlette.responses import Response

from console.drafts import draft_of, forget
from console.picker import Picker, chosen_ids, picked
from console.preview import begin_preview
from console.rules import Sheet, read_only, save, sent_sheet, stored_sheet
from console.visit import Refusal, Visit
from store.links import Kind
from store.validation import NUMBER_PROPERTIES


class Subject(msgspec.Struct, frozen=True):
    """A kind of objects with rules of its own."""

    kind: Kind
    template: str

    @property
    def path(self) -> str:
        return f"/console/{self.kind}"

    @property
    def sections(self) -> tuple[str, str]:
        """The sections of the document in its form."""
        return (self.kind, "guard")


USERS = Subject("users", "users.html")
GROUPS = Subject("groups", "groups.html")


async def show(visit: Visit, subject: Subject) -> Response:
    """The rules as they are stored, or as they were typed for a preview."""
    asked = visit.query("draft")
    draft = await draft_of(visit, subject.kind, asked) if asked else None
    if draft is None:
        stored = await visit.connection.settings.load()
        return await _rendered(visit, subject, stored_sheet(stored, subject.sections), is_lost=bool(asked))
    return await _rendered(visit, subject, draft.sheet, is_draft=True)


async def posted(visit: Visit, subject: Subject) -> Response:
    """What a button of the form asks for. Everything typed is kept, whatever comes of it."""
    sheet = sent_sheet(visit.form, subject.sections)
    act = visit.text("act") or ("search" if visit.text("search") else "save")
    if visit.text("add") or visit.text("remove"):
        return await _chosen(visit, subject, _with_groups(visit, sheet, subject))
    if act == "search":
        return await _chosen(visit, subject, sheet)
    if act == "preview":
        begun = await begin_preview(visit, subject.kind, sheet)
        return begun if isinstance(begun, Response) else await _rendered(visit, subject, begun)
    return await _saved(visit, subject, sheet)


async def save_previewed(visit: Visit, subject: Subject) -> Response:
    """Save what was typed for a preview, now that it showed what it does."""
    draft = await draft_of(visit, subject.kind, visit.request.path_params["run_id"])
    if draft is None:
        words = "What was typed for this preview is not kept any more: it was saved, or another preview followed."
        raise Refusal(409, "Not kept", words, link=("The rules", subject.path))
    response = await _saved(visit, subject, draft.sheet)
    if response.status_code in {204, 303}:
        await forget(visit, subject.kind)
    return response


async def _saved(visit: Visit, subject: Subject, sheet: Sheet) -> Response:
    """The rules saved, or the form again with the reason why not."""
    done = await save(visit, sheet)
    if isinstance(done, Sheet):
        return await _rendered(visit, subject, done)
    return visit.go(subject.path, done="saved-started" if done.messages else "saved")


async def _chosen(visit: Visit, subject: Subject, sheet: Sheet) -> Response:
    """The form, or only its picker, after groups were searched for, added or removed."""
    if not visit.is_partial:
        return await _rendered(visit, subject, sheet)
    is_search = visit.text("act") == "search"
    template = "part_picker_found.html" if is_search else "part_picker.html"
    return visit.render(template, picker=await _picked(visit, sheet, subject), is_part=True)


async def _rendered(
    visit: Visit, subject: Subject, sheet: Sheet, *, is_draft: bool = False, is_lost: bool = False
) -> Response:
    """The form as this sheet says."""
    return visit.render(
        subject.template,
        sheet.status,
        subject=subject,
        sheet=sheet,
        rules=sheet.sections,
        faults=sheet.faults,
        picker=await _picked(visit, sheet, subject),
        locked=read_only(await visit.connection.health.load(), subject.kind),
        properties=NUMBER_PROPERTIES,
        is_part=False,
        is_draft=is_draft,
        is_lost=is_lost,
    )


def _with_groups(visit: Visit, sheet: Sheet, subject: Subject) -> Sheet:
    rules = sheet.sections[subject.kind]
    changed = {**rules, "scope": {**rules["scope"], "group_ids": chosen_ids(visit, _group_ids(sheet, subject))}}
    return msgspec.structs.replace(sheet, sections={**sheet.sections, subject.kind: changed})


async def _picked(visit: Visit, sheet: Sheet, subject: Subject) -> Picker:
    return await picked(visit, subject.path, f"/{subject.kind}/scope/group_ids", _group_ids(sheet, subject))


def _group_ids(sheet: Sheet, subject: Subject) -> Sequence[str]:
    ids: list[str] = sheet.sections[subject.kind]["scope"]["group_ids"]
    return ids
