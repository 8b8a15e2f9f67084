"""A browser without scripts: it follows no redirect by itself, keeps cookies, and presses buttons by their text."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from tests.microsoft.support import Answer, Client

VOID = frozenset({"input", "meta", "br"})


@dataclass
class Button:
    text: str
    name: str | None
    value: str


@dataclass
class Form:
    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    """Name of each visible field by the text of its label."""
    buttons: list[Button] = field(default_factory=list)


class Page(HTMLParser):
    """What somebody sees: heading, text, and the forms with their fields and buttons."""

    def __init__(self, answer: Answer, url: str) -> None:
        super().__init__()
        self.status, self.url, self.headers = answer.status, url, answer.headers
        self.location = answer.headers.get("Location", "")
        self.forms: list[Form] = []
        self.heading = self.words = ""
        self.items: list[str] = []
        self._open: list[str] = []
        self._label = self._inside = self._points_at = ""
        self._waiting: dict[str, str] = {}
        """Text of the labels whose field comes after them, by its id."""
        self.feed(answer.text)

    @property
    def form(self) -> Form:
        """The form that goes back to the app."""
        (found,) = self.forms
        return found

    @property
    def buttons(self) -> list[str]:
        return [button.text for form in self.forms for button in form.buttons]

    @property
    def labels(self) -> list[str]:
        return [label for form in self.forms for label in form.labels]

    def returned(self) -> dict[str, str]:
        """What the app gets, whichever way it gets it."""
        if self.status == 302:
            parts = urlsplit(self.location)
            return dict(parse_qsl(parts.fragment or parts.query, keep_blank_values=True))
        return self.form.fields

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self._open.append(tag)
        if tag == "form":
            self.forms.append(Form(values.get("method", "get"), values["action"]))
        elif tag == "button":
            self.forms[-1].buttons.append(Button("", values.get("name"), values.get("value", "")))
        elif tag == "label":
            self._label, self._inside, self._points_at = "", "", values.get("for", "")
        elif tag == "li":
            self.items.append("")
        elif tag == "input":
            self._input(values)

    def handle_endtag(self, tag: str) -> None:
        if tag == "label" and self._points_at:
            self._waiting[self._points_at] = self._label.strip()
        elif tag == "label":
            self.forms[-1].labels[self._label.strip()] = self._inside
        while self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" in self._open or "script" in self._open:
            return
        self.words += data
        if "h1" in self._open:
            self.heading += data
        if "li" in self._open:
            self.items[-1] += data
        if "button" in self._open:
            button = self.forms[-1].buttons[-1]
            button.text = f"{button.text} {data}".strip()
        elif "label" in self._open:
            self._label += data

    def _input(self, values: dict[str, str]) -> None:
        form = self.forms[-1]
        if values.get("type") == "hidden":
            form.fields[values["name"]] = values["value"]
            return
        self._inside = values["name"]
        if values.get("type") != "checkbox":
            form.fields[values["name"]] = values.get("value", "")
        if values.get("id") in self._waiting:
            form.labels[self._waiting[values["id"]]] = values["name"]


class Browser:
    """One person's browser."""

    def __init__(self, client: Client) -> None:
        self._client = client
        client.token = None

    async def open(self, url: str) -> Page:
        return await self._load("GET", url)

    async def press(self, page: Page, text: str, **fill: str) -> Page:
        """Press the only button whose text begins so; ``fill`` gives the fields of its form values by name."""
        ((form, button),) = [
            (form, button) for form in page.forms for button in form.buttons if button.text.startswith(text)
        ]
        assert set(fill) <= set(form.labels.values()), form.labels
        values = {**form.fields, **fill, **({button.name: button.value} if button.name else {})}
        url = urljoin(page.url, form.action)
        if form.method == "get":
            return await self._load("GET", url, params=values)
        return await self._load("POST", url, data=values)

    async def _load(self, method: str, url: str, **options: Any) -> Page:
        full = url if url.startswith("https://") else self._client.emulator.url + url
        answer = await self._client.send(method, full, allow_redirects=False, **options)
        return Page(answer, full)
