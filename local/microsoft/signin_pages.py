"""The pages that a person sees on the way: plain HTML that works without a script, every value escaped."""

import secrets
from collections.abc import Iterable, Mapping
from html import escape

import msgspec
from aiohttp import web

STYLE = """
body { font-family: "Segoe UI", system-ui, sans-serif; background: #f2f2f2; color: #1b1b1b; margin: 0; }
main { background: #fff; max-width: 28rem; margin: 3rem auto; padding: 2rem; box-shadow: 0 2px 6px #0003; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; } .hint { color: #555; }
ul { list-style: none; padding: 0; } li { margin: 0.25rem 0; } ul.plain { list-style: disc; padding-left: 1.5rem; }
input[type=search] { width: 100%; box-sizing: border-box; padding: 0.5rem; margin: 0.25rem 0 0.5rem; font: inherit; }
button { font: inherit; padding: 0.5rem 1rem; border: 1px solid #767676; background: #f7f7f7; cursor: pointer; }
button.main { background: #0067b8; border-color: #0067b8; color: #fff; }
button.person { width: 100%; text-align: left; } button.person span { display: block; font-size: 0.85rem; }
:focus-visible { outline: 3px solid #0067b8; outline-offset: 2px; } .problem { color: #b00020; }
"""


class Person(msgspec.Struct, frozen=True):
    """A user as the page lists them; ``note`` tells what is special."""

    id: str
    name: str
    sign_in_name: str
    note: str = ""


class Place(msgspec.Struct, frozen=True):
    """Where the forms of a page go, and the sign-in that they go on with."""

    tenant: str
    flow: str

    def form(self, target: str, content: str, method: str = "post") -> str:
        action = escape(f"/{self.tenant}/{target}")
        return f'<form method="{method}" action="{action}">{_hidden("flow", self.flow)}{content}</form>'


def sign_in(place: Place, app: str, people: Iterable[Person], *, search: str, shown: int, found: int) -> web.Response:
    """The list of people; those it does not show are found by searching."""
    field = (
        '<label for="search">Name or sign-in name</label>'
        f'<input type="search" id="search" name="search" value="{escape(search)}" autocomplete="off">'
        "<button>Search</button>"
    )
    count = f"Showing {shown} of {found}. Search to find others." if shown < found else f"Showing {found}"
    items = "".join(f"<li>{_person(person)}</li>" for person in people)
    buttons = f'<ul aria-label="People">{items}</ul>' if items else ""
    return page(
        "Sign in",
        f'<p class="hint">to continue to {escape(app)}</p>',
        place.form("login", field, "get"),
        f'<p class="hint" role="status">{count}</p>',
        place.form("login", buttons + '<button name="cancel" value="yes">Cancel</button>'),
    )


def consent(
    place: Place, app: str, person: str, permissions: Iterable[str], *, may_speak_for_all: bool
) -> web.Response:
    """``may_speak_for_all`` for an administrator, who gets the checkbox."""
    box = (
        '<p><label><input type="checkbox" name="organization" value="yes"> '
        "Consent on behalf of your organization</label></p>"
    )
    return page(
        "Permissions requested",
        f'<p class="hint">{escape(person)}</p>',
        f"<p>{escape(app)} would like to:</p>",
        _list(permissions),
        place.form("consent", (box if may_speak_for_all else "") + _answers()),
    )


def admin_consent(place: Place, app: str, person: str, permissions: Iterable[str]) -> web.Response:
    """What an administrator grants for everybody at once."""
    return page(
        "Permissions requested",
        f'<p class="hint">{escape(person)}. Review for your organization</p>',
        f"<p>{escape(app)} would like to:</p>",
        _list(permissions),
        "<p>If you accept, this app will get access to the specified resources for all users in your organization.</p>",
        place.form("consent", _hidden("organization", "yes") + _answers()),
    )


def approval(place: Place, app: str, person: str, permissions: Iterable[str]) -> web.Response:
    """For people who may not consent to what the app asks for."""
    return page(
        "Need admin approval",
        f'<p class="hint">{escape(person)}</p>',
        f"<p>{escape(app)} needs permission to access resources in your organization that only an admin can grant. "
        "Please ask an admin to grant permission to this app before you can use it.</p>",
        _list(permissions),
        place.form(
            "login", '<button name="again" value="yes">Have an admin account? Sign in with that account</button>'
        ),
        place.form(
            "consent",
            '<button name="answer" value="cancel">Return to the application without granting consent</button>',
        ),
    )


def problem(text: str) -> web.Response:
    """An error that is the person's to see, because the app must not hear of it or cannot help."""
    return page(
        "Sorry, but we’re having trouble signing you in.",  # noqa: RUF001 - the apostrophe is meant
        f'<p class="problem" role="alert">{escape(text)}</p>',
        status=400,
    )


def signed_out() -> web.Response:
    return page("You signed out of your account", "<p>It’s a good idea to close all browser windows.</p>")  # noqa: RUF001


def form_post(target: str, parameters: Mapping[str, str]) -> web.Response:
    """The answer to the app as a form that posts itself; without scripts it has a button."""
    fields = "".join(_hidden(name, value) for name, value in parameters.items())
    button = (
        '<noscript><p>Script is disabled. Click Continue to go on.</p><button class="main">Continue</button></noscript>'
    )
    nonce = secrets.token_urlsafe(16)
    return page(
        "Working...",
        f'<form method="post" action="{escape(target)}">{fields}{button}</form>',
        f'<script nonce="{nonce}">document.forms[0].submit()</script>',
        script=f"'nonce-{nonce}'",
    )


def page(title: str, *content: str, status: int = 200, script: str = "'none'") -> web.Response:
    """``content`` is HTML; only what ``script`` names may run."""
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{''.join(content)}</main></body></html>"
    )
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src {script}; base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Cache-Control": "no-store, no-cache",
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "strict-origin-when-cross-origin",
    }
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=headers)


def _hidden(name: str, value: str) -> str:
    return f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'


def _list(texts: Iterable[str]) -> str:
    return f'<ul class="plain">{"".join(f"<li>{escape(text)}</li>" for text in texts)}</ul>'


def _answers() -> str:
    return (
        '<button class="main" name="answer" value="accept">Accept</button> '
        '<button name="answer" value="cancel">Cancel</button>'
    )


def _person(person: Person) -> str:
    note = f"<span>{escape(person.note)}</span>" if person.note else ""
    return (
        f'<button class="person" name="user" value="{escape(person.id)}">{escape(person.name)}'
        f"<span>{escape(person.sign_in_name)}</span>{note}</button>"
    )
