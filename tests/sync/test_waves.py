"""Operations that depend on each other are not sent side by side."""

from hypothesis import given
from hypothesis import strategies as st

from sync.applying import waves
from sync.plan import Operation


def delete(name: str, number: str, email: str) -> Operation:
    return Operation(
        kind="delete", object_id=name, number=number, pbx_id=1, reason="gone", before={"email_addr": email}
    )


def update(name: str, old: str, new: str) -> Operation:
    before, after = {"email_addr": old}, {"email_addr": new}
    return Operation(kind="update", object_id=name, number="9", pbx_id=1, reason="moved", before=before, after=after)


def create(name: str, number: str, email: str = "") -> Operation:
    return Operation(kind="create", object_id=name, number=number, reason="new", after={"email_addr": email})


def names(chunk: list[Operation]) -> list[list[str]]:
    return [[operation.object_id for operation in wave] for wave in waves(chunk)]


def test_independent_operations_go_together() -> None:
    assert names([delete("a", "1000", "a@x"), update("b", "b@x", "c@x"), create("d", "1001")]) == [
        ["a", "b"],
        ["d"],  # a new extension takes the place that a deletion frees
    ]
    assert names([]) == []


def test_who_takes_an_address_or_a_number_waits_for_who_gives_it_up() -> None:
    assert names([delete("a", "1000", "a@x"), create("b", "1000")]) == [["a"], ["b"]]
    assert names([delete("a", "1000", "A@x"), create("b", "1001", "a@X")]) == [["a"], ["b"]]
    chain = [update("a", "1@x", "2@x"), update("b", "0@x", "1@x"), update("c", "3@x", "0@x"), create("d", "1")]
    assert names(chain) == [["a"], ["b"], ["c", "d"]]


ADDRESSES = st.sampled_from(["", "a@x", "b@x", "c@x", "d@x"])
OPERATIONS = st.lists(
    st.one_of(
        st.builds(update, st.just("u"), ADDRESSES, ADDRESSES),
        st.builds(delete, st.just("d"), st.sampled_from(["1", "2"]), ADDRESSES),
        st.builds(create, st.just("c"), st.sampled_from(["1", "2"]), ADDRESSES),
    ),
    max_size=12,
)


@given(OPERATIONS)
def test_nothing_is_lost_or_reordered_and_no_wave_gives_and_takes_the_same(chunk: list[Operation]) -> None:
    parts = list(waves(chunk))
    assert [operation for part in parts for operation in part] == chunk
    for part in parts:
        given_up: set[str] = set()
        for operation in part:
            assert operation.after.get("email_addr", "") not in given_up - {""}
            given_up.add(operation.before.get("email_addr", ""))
