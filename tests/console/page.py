"""A page as somebody without scripts sees it: its elements, its texts, and what its forms would send."""

import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"})
UNSEEN = frozenset({"script", "style", "title", "template"})
BLOCKS = frozenset(
    {
        "p",
        "div",
        "li",
        "tr",
        "td",
        "th",
        "h1",
        "h2",
        "h3",
        "label",
        "legend",
        "caption",
        "dt",
        "dd",
        "option",
        "section",
    }
)


@dataclass
class Element:
    """An element; texts are elements without a name."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["Element"] = field(default_factory=list)
    parent: "Element | None" = None
    data: str = ""

    def __getitem__(self, attribute: str) -> str:
        return self.attributes.get(attribute, "")

    def has(self, attribute: str) -> bool:
        return attribute in self.attributes

    def walk(self) -> Iterator["Element"]:
        """This element and everything in it, in the order of the page."""
        yield self
        for child in self.children:
            yield from child.walk()

    def all(self, *names: str, **attributes: str) -> list["Element"]:
        """The elements inside with one of these names and with these attributes (``class_`` and ``for_`` as such)."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            element
            for element in self.walk()
            if element is not self
            and (element.name in names if names else element.name)
            and all(element.fits(name, value) for name, value in wanted.items())
        ]

    def one(self, *names: str, **attributes: str) -> "Element":
        """The only such element."""
        found = self.all(*names, **attributes)
        assert len(found) == 1, f"{len(found)} elements {names} {attributes} in: {self.text}"
        return found[0]

    def fits(self, attribute: str, value: str) -> bool:
        if attribute == "class":
            return value in self["class"].split()
        return self.attributes.get(attribute) == value

    def above(self) -> Iterator["Element"]:
        """The elements around it, from the inside out."""
        here = self.parent
        while here is not None:
            yield here
            here = here.parent

    @property
    def text(self) -> str:
        """What is to be read, with single spaces."""
        return " ".join("".join(self._texts()).split())

    def _texts(self) -> Iterator[str]:
        if self.name in UNSEEN:
            return
        yield self.data
        for child in self.children:
            yield from child._texts()
        if self.name in BLOCKS or self.name == "br":
            yield " "

    @property
    def is_disabled(self) -> bool:
        """Whether a browser leaves it out of what it sends."""
        return self.has("disabled") or any(one.name == "fieldset" and one.has("disabled") for one in self.above())


class Form:
    """A form, and what a browser would send of it."""

    def __init__(self, element: Element, page: "Page") -> None:
        self.element = element
        self.page = page
        self.method = (element["method"] or "get").lower()
        self.action = element["action"] or page.path

    def __getitem__(self, name: str) -> str:
        """The value that a field has on the page."""
        values = [value for found, value in self.values() if found == name]
        assert len(values) == 1, f"{name} has the values {values} in {self.action}"
        return values[0]

    @property
    def controls(self) -> list[Element]:
        """Everything that may have a value, also outside of the element when it names the form."""
        inside = self.element.all("input", "select", "textarea", "button")
        named = self.page.root.all("input", "select", "textarea", "button", form=self.element["id"] or "-")
        return [one for one in [*inside, *named] if not one.has("form") or one in named]

    def control(self, name: str, value: str | None = None) -> Element:
        """The only field of this name, or the choice of it that has the value."""
        found = [one for one in self.controls if one["name"] == name and value in {None, one["value"]}]
        assert len(found) == 1, f"{len(found)} fields {name} in {self.action}"
        return found[0]

    @property
    def buttons(self) -> list[str]:
        """The words on the buttons that can be pressed."""
        return [one.text for one in self._buttons() if not one.is_disabled]

    @property
    def names(self) -> set[str]:
        return {one["name"] for one in self.controls if one["name"]}

    def values(self, button: str = "") -> list[tuple[str, str]]:
        """What is sent when the button whose words begin so is pressed."""
        sent = [pair for one in self.controls if not one.is_disabled for pair in _values(one)]
        if button:
            pressed = next(
                (one for one in self._buttons() if one.text.startswith(button) and not one.is_disabled), None
            )
            assert pressed is not None, f"no button {button!r} among {self.buttons}"
            sent += [(pressed["name"], pressed["value"])] if pressed["name"] else []
        return sent

    def filled(self, button: str = "", **changes: str | list[str] | None) -> list[tuple[str, str]]:
        """The same with some fields filled in otherwise: a text, a list for check boxes, ``None`` for nothing at all.

        ``__`` in a name stands for a dot or a dash that names of fields may have.
        """
        given = {self._spelled(name): value for name, value in changes.items()}
        kept = [(name, value) for name, value in self.values(button) if name not in given]
        typed = [(name, one) for name, value in given.items() for one in _listed(value)]
        return [*kept, *typed]

    def _spelled(self, name: str) -> str:
        found = {name, name.replace("__", "."), name.replace("__", "-")} & self.names
        assert found, f"no field {name} among {sorted(self.names)}"
        return found.pop()

    def _buttons(self) -> list[Element]:
        return [one for one in self.controls if one.name == "button" and one["type"] in {"", "submit"}]


class Page:
    """What came back for a request."""

    def __init__(self, status: int, path: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = status
        self.path = path
        """Address without the origin, with its query."""
        self.headers = {name.lower(): value for name, value in headers if name.lower() != "set-cookie"}
        self.cookies = [value for name, value in headers if name.lower() == "set-cookie"]
        self.body = body
        self.html = body.decode() if self.headers.get("content-type", "").startswith("text/html") else ""
        self.root = _Tree.parsed(self.html)

    def __repr__(self) -> str:
        return f"Page({self.status}, {self.path!r}, {self.heading!r})"

    @property
    def location(self) -> str:
        return self.headers.get("location", "")

    @property
    def heading(self) -> str:
        """The main heading; there is exactly one on a page."""
        return " ".join(element.text for element in self.root.all("h1"))

    @property
    def headings(self) -> list[str]:
        return [element.text for element in self.root.all("h1", "h2", "h3")]

    @property
    def text(self) -> str:
        return self.root.text

    @property
    def main(self) -> str:
        """The text without what is around it on every page."""
        return self.root.one("main").text

    @property
    def notices(self) -> list[str]:
        """What the page says in boxes of their own."""
        return [element.text for element in self.root.all(class_="notice")]

    @property
    def faults(self) -> list[str]:
        """What is said to be wrong at single fields."""
        return [element.text for element in self.root.all(class_="fault")]

    @property
    def links(self) -> dict[str, str]:
        """Addresses by the words of the link."""
        return {element.text: element["href"] for element in self.root.all("a")}

    @property
    def rows(self) -> list[list[str]]:
        """The cells of all tables but the headings of their columns."""
        rows = [row for row in self.root.all("tr") if not any(one.name == "thead" for one in row.above())]
        return [[cell.text for cell in row.children if cell.name in {"td", "th"}] for row in rows]

    @property
    def forms(self) -> list[Form]:
        """The forms of the page itself, without signing out."""
        return [Form(one, self) for one in self.root.all("form") if one["action"] != "/console/sign-out"]

    def form(self, action: str = "") -> Form:
        """The only form that goes to this path; the only form of the page without one."""
        found = [form for form in self.forms if action in {"", form.action.partition("?")[0]}]
        assert len(found) == 1, (
            f"{len(found)} forms to {action or 'anywhere'} among {[form.action for form in self.forms]}"
        )
        return found[0]

    def form_with(self, button: str) -> Form:
        """The only form that has a button whose words begin so."""
        found = [form for form in self.forms if any(words.startswith(button) for words in form.buttons)]
        assert len(found) == 1, f"{len(found)} forms with {button!r} among {[form.buttons for form in self.forms]}"
        return found[0]

    def says(self, words: str) -> bool:
        return words in self.text


class _Tree(HTMLParser):
    """Makes the elements; a page whose elements are not properly closed fails its test."""

    @classmethod
    def parsed(cls, text: str) -> Element:
        tree = cls()
        tree.feed(text)
        tree.close()
        assert tree.here is tree.root, f"<{tree.here.name}> is never closed"
        return tree.root

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.here = Element("page")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, parent=self.here)
        self.here.children.append(element)
        if tag not in VOID:
            self.here = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # Only drawings write elements that close themselves.
        self.here.children.append(Element(tag, {name: value or "" for name, value in attrs}, parent=self.here))

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.here.name, f"</{tag}> closes <{self.here.name}>"
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.children.append(Element("", parent=self.here, data=data))


def _values(control: Element) -> list[tuple[str, str]]:
    name, kind = control["name"], control["type"]
    if not name or control.name == "button" or kind in {"submit", "button", "reset"}:
        return []
    if control.name == "textarea":
        return [(name, "".join(child.data for child in control.children).removeprefix("\n"))]
    if control.name == "select":
        options = control.all("option")
        chosen = [option for option in options if option.has("selected")] or (
            [] if control.has("multiple") else options[:1]
        )
        return [(name, option["value"] if option.has("value") else option.text) for option in chosen]
    if kind in {"checkbox", "radio"}:
        return [(name, control["value"] if control.has("value") else "on")] if control.has("checked") else []
    return [(name, control["value"])]


def _listed(value: str | list[str] | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def escaped(text: str) -> str:
    """A text as it has to be in the source of a page."""
    return html.escape(text)
