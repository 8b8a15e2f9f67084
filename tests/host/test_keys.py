"""Keys from the environment."""

import pytest

from local.host import keys
from local.host.config import ConfigError
from local.host.keys import VARIABLE, Level


def test_missing_keys_are_random() -> None:
    first, second = keys.load({}), keys.load({VARIABLE: '{"master": "m"}'})
    assert second.master == "m"
    assert len({first.master, first.function, second.function}) == 3
    assert len(first.function) >= 32


def test_keys_of_functions_open_only_theirs() -> None:
    loaded = keys.load({VARIABLE: '{"functions": {"a": "key-a"}}'})
    assert loaded.allow(Level.FUNCTION, "a", "key-a")
    assert not loaded.allow(Level.FUNCTION, "b", "key-a")
    assert not loaded.allow(Level.ADMIN, "a", "key-a")
    assert not loaded.allow(Level.FUNCTION, "a", None)


@pytest.mark.parametrize("text", ["{", "[]", '{"master": ""}', '{"maestro": "x"}', '{"functions": {"a": ""}}'])
def test_wrong_keys_are_told(text: str) -> None:
    with pytest.raises(ConfigError, match=VARIABLE):
        keys.load({VARIABLE: text})
