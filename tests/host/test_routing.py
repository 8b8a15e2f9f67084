"""Route templates."""

import pytest

from local.host.config import ConfigError
from local.host.routing import Route, Router

GUID = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"


def router(*templates: str) -> Router[str]:
    return Router([Route(one, frozenset(), one) for one in templates])


@pytest.mark.parametrize(
    ("template", "path", "params"),
    [
        ("", "/", {}),
        ("a/b", "/A/b/", {}),
        ("a/{id}", "/a/X%20y", {"id": "X y"}),
        ("a/{id}", "/a/x%2Fy", {"id": "x%2Fy"}),
        ("a/{id}", "/a", None),
        ("a/{id}", "/a/b/c", None),
        ("a/{id?}", "/a", {}),
        ("a/{id?}", "/a/1", {"id": "1"}),
        ("{id:int}", "/-7", {"id": "-7"}),
        ("{id:int}", "/2147483648", None),
        ("{id:long}", "/2147483648", {"id": "2147483648"}),
        ("{id:int?}", "/", {}),
        ("{id:guid}", f"/{GUID}", {"id": GUID}),
        ("{id:guid}", f"/{GUID}0", None),
        ("{id:alpha:minlength(2)}", "/ab", {"id": "ab"}),
        ("{id:alpha:minlength(2)}", "/a", None),
        ("{id:range(1,9)}", "/10", None),
        (r"{id:regex(^[0-9]+$)}", "/123", {"id": "123"}),
        ("a/{*rest}", "/a/b/c", {"rest": "b/c"}),
        ("a/{*rest}", "/a", {}),
        ("{*rest}", "/", {"rest": ""}),
        ("{name}.{ext}", "/file.tar.gz", {"name": "file", "ext": "tar.gz"}),
        ("a.b", "/axb", None),
        ("föö/{user-id}", "/f%C3%B6%C3%B6/1", {"user-id": "1"}),
        ("föö", "/f%C3%B6%C3%B6", {}),
    ],
)
def test_matching(template: str, path: str, params: dict[str, str] | None) -> None:
    found = router(template).find("GET", path)
    assert (None if found is None else found[1]) == params


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/a/b", "a/b"),
        ("/a/1", "a/{id:int}"),
        ("/a/x", "a/{id}"),
        ("/a/x/y", "a/{*rest}"),
        ("/z", "{*all}"),
        ("/x/b", "{any}/b"),
    ],
)
def test_the_most_precise_template_wins_whatever_the_order(path: str, template: str) -> None:
    templates = ["{*all}", "a/{*rest}", "a/{id}", "{any}/b", "a/{id:int}", "a/b"]
    for order in (templates, templates[::-1]):
        found = router(*order).find("GET", path)
        assert found is not None
        assert found[0] == template


def test_functions_share_a_template_by_method() -> None:
    routes = Router([Route("a", frozenset({"GET"}), "read"), Route("A", frozenset({"POST"}), "write")])
    assert routes.find("GET", "/a") == ("read", {})
    assert routes.find("POST", "/a") == ("write", {})
    assert routes.find("HEAD", "/a") is None


@pytest.mark.parametrize("template", ["a/{id:nothing}", "a/{id", "a/{id:min(x)}", "{id:regex([)}"])
def test_a_template_that_cannot_be_read_is_named(template: str) -> None:
    with pytest.raises(ConfigError, match="route"):
        router(template)
