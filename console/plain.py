"""The engine's words for people at a page: its advice is written for both, the pages and the JSON API."""

import re

API = re.compile(r":? (?:GET|PUT|POST) /api/[\w/-]*\w")
"""Advice for programs, at the end of a sentence."""
RUN = re.compile(r"\b(?:the )?run [0-9]{14}-[0-9a-z]+")
MEMBERS = {
    "/microsoft/tenant_id": "the tenant",
    "/microsoft/client_id": "the id of the application",
    "/pbx/fqdn": "the address of the PBX",
    "/pbx/client_id": "the Client ID of the PBX's API",
    "/users is read-only": "its rules are read-only",
    "/groups is read-only": "its rules are read-only",
}
"""JSON paths of the settings in the engine's sentences."""


def plain(text: str) -> str:
    """The same without what only programs need: addresses of the API, JSON paths, ids of runs."""
    text = API.sub("", text)
    for path, words in MEMBERS.items():
        text = text.replace(path, words)
    return RUN.sub("the run", text)
