"""Reading users: whole rounds, changes, and links that must not be followed."""

import pytest

from graph.client import Graph
from graph.errors import BadRequest, NotFound, ResyncRequired, Unavailable
from graph.models import BASE_SELECT, UserPage, selected
from local.microsoft import MicrosoftEmulator
from local.microsoft.delta import ResetAnswer
from local.sample import user_id
from tests.graph.tenant import PEOPLE, fault, read, refusal, seen


async def test_a_full_round_reads_every_page_to_the_delta_link(reader: Graph, emulator: MicrosoftEmulator) -> None:
    users, link = await read(reader)
    assert {user.id for user in users} == {user_id(number) for number in range(1, PEOPLE + 1)}
    assert "$deltatoken=" in link
    assert len(seen(emulator)) == reader.requests == 3  # pages of five


async def test_the_selected_properties_arrive_decoded(reader: Graph) -> None:
    users, _ = await read(reader)
    first = next(user for user in users if user.id == user_id(1))
    assert (first.given_name, first.mail, first.account_enabled, first.user_type) == (
        "Given 1",
        "person1@contoso.example",
        True,
        "Member",
    )
    assert (first.mobile_phone, first.removed) == (None, None)


async def test_an_incremental_round_costs_one_request_and_brings_only_changes(
    reader: Graph, emulator: MicrosoftEmulator
) -> None:
    _, link = await read(reader)
    directory = emulator.directory
    directory.update(directory.entities[user_id(3)], {"jobTitle": "Chef"})
    directory.delete(directory.entities[user_id(4)])
    emulator.requests.clear()
    users, following = await read(reader, link)
    assert {user.id: user.job_title for user in users} == {user_id(3): "Chef", user_id(4): None}
    assert {user.id: user.removed.reason for user in users if user.removed} == {user_id(4): "changed"}
    assert len(emulator.requests) == 1
    assert following != link


async def test_an_incremental_round_may_have_many_pages(reader: Graph, emulator: MicrosoftEmulator) -> None:
    _, link = await read(reader)
    for entity in list(emulator.directory.entities.values()):
        if entity.kind == "user":
            emulator.directory.update(entity, {"jobTitle": "Chef"})
    before = reader.requests
    users, _ = await read(reader, link)
    assert len(users) == PEOPLE
    assert reader.requests - before == 3


async def test_a_round_without_changes_brings_nothing_and_a_link(reader: Graph) -> None:
    _, link = await read(reader)
    users, following = await read(reader, link)
    assert users == []
    assert following


async def test_an_empty_page_with_a_next_link_is_not_the_end(reader: Graph, emulator: MicrosoftEmulator) -> None:
    emulator.graph.delta.switches.empty_pages = 2
    users, _ = await read(reader)
    assert len({user.id for user in users}) == PEOPLE
    assert reader.requests == 5


async def test_entries_that_come_twice_are_passed_on_in_their_order(reader: Graph, emulator: MicrosoftEmulator) -> None:
    _, link = await read(reader)
    emulator.directory.update(emulator.directory.entities[user_id(3)], {"jobTitle": "Chef"})
    emulator.graph.delta.switches.duplicates = emulator.graph.delta.switches.stale_duplicates = True
    users, _ = await read(reader, link)
    assert [(user.id, user.job_title) for user in users] == [(user_id(3), None), (user_id(3), "Chef")]


async def test_one_user_is_read_by_id(reader: Graph, emulator: MicrosoftEmulator) -> None:
    found = await reader.user(user_id(2), BASE_SELECT)
    assert found is not None
    assert found.mail == "person2@contoso.example"
    assert reader.requests == 1
    emulator.directory.delete(emulator.directory.entities[user_id(2)])
    assert await reader.user(user_id(2), BASE_SELECT) is None
    assert await reader.user(user_id(999), BASE_SELECT) is None


async def test_a_number_property_is_selected_too(reader: Graph, emulator: MicrosoftEmulator) -> None:
    directory = emulator.directory
    directory.update(directory.entities[user_id(1)], {"businessPhones": ["2041"], "faxNumber": "77"})
    phones = await reader.user(user_id(1), selected("businessPhones"))
    fax = await reader.user(user_id(1), selected("faxNumber"))
    assert phones is not None
    assert (phones.business_phones, phones.fax_number) == (["2041"], None)
    assert fax is not None
    assert (fax.business_phones, fax.fax_number) == (None, "77")


def test_extension_attributes_are_selected_as_a_whole_and_nothing_twice() -> None:
    assert selected("onPremisesExtensionAttributes.extensionAttribute3")[-1] == "onPremisesExtensionAttributes"
    assert selected("mail") == selected(None) == BASE_SELECT


# Links


async def test_a_stored_link_to_another_host_is_given_up_and_never_followed(
    reader: Graph, elsewhere: MicrosoftEmulator
) -> None:
    with pytest.raises(ResyncRequired, match="another host"):
        await read(reader, f"{elsewhere.url}/v1.0/users/delta?$deltatoken=stolen")
    assert elsewhere.requests == []


@pytest.mark.parametrize("name", ["@odata.nextLink", "@odata.deltaLink"])
async def test_an_answer_that_leads_to_another_host_is_refused_and_the_token_never_sent_there(
    reader: Graph, emulator: MicrosoftEmulator, elsewhere: MicrosoftEmulator, name: str
) -> None:
    body = {"value": [], name: f"{elsewhere.url}/v1.0/users/delta?$skiptoken=stolen"}
    emulator.faults.append(fault(status=200, body=body))
    with pytest.raises(BadRequest, match="another host"):
        await read(reader)
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    "foreign",
    [
        "https://localhost.attacker.example/v1.0/users/delta?$skiptoken=x",
        "https://localhost@attacker.example/v1.0/users/delta?$skiptoken=x",
        "http://localhost/v1.0/users/delta?$skiptoken=x",
        "//localhost/v1.0/users/delta",
        "/v1.0/users/delta?$skiptoken=x",
        "https://[broken/",
        "https://localhost:port/",
    ],
)
async def test_links_that_only_look_like_ours_are_refused(
    reader: Graph, emulator: MicrosoftEmulator, foreign: str
) -> None:
    emulator.faults.append(fault(status=200, body={"value": [], "@odata.nextLink": foreign}))
    with pytest.raises(BadRequest, match="another host"):
        await read(reader)
    assert reader.requests == 1


async def test_a_redirect_is_not_followed(
    reader: Graph, emulator: MicrosoftEmulator, elsewhere: MicrosoftEmulator
) -> None:
    target = f"{elsewhere.url}/v1.0/users/delta"
    emulator.faults.append(fault(status=302, headers={"Location": target}))
    with pytest.raises(BadRequest):
        await read(reader)
    assert elsewhere.requests == []


async def test_the_explicit_standard_port_is_the_same_host() -> None:
    from graph.client import same_host

    assert same_host("https://graph.microsoft.com/v1.0", "https://GRAPH.microsoft.com:443/v1.0/users/delta")
    assert not same_host("https://graph.microsoft.com/v1.0", "https://graph.microsoft.com:8443/v1.0/users/delta")


async def test_a_page_without_any_link_is_no_end_of_a_round(reader: Graph, emulator: MicrosoftEmulator) -> None:
    emulator.faults.append(fault(status=200, body={"value": []}))
    with pytest.raises(Unavailable, match="neither"):
        await read(reader)


async def test_transitive_links_stay_on_our_host_too(
    reader: Graph, emulator: MicrosoftEmulator, elsewhere: MicrosoftEmulator
) -> None:
    body = {"value": [], "@odata.nextLink": f"{elsewhere.url}/v1.0/groups/x/transitiveMembers"}
    emulator.faults.append(fault(status=200, body=body))
    with pytest.raises(BadRequest, match="another host"):
        _ = [member async for member in reader.transitive_user_ids("x")]
    assert elsewhere.requests == []


# A delta link that is no longer good


@pytest.mark.parametrize(
    "answer",
    [
        "410_location",
        "410",
        "410_resync_required",
        "400_expired_page_token",
        "400_sync_state_not_found",
        "400_resync_required",
        "404_sync_state_not_found",
        "404_resync_required",
    ],
)
async def test_an_expired_link_asks_for_a_full_read_however_graph_words_it(
    reader: Graph, emulator: MicrosoftEmulator, answer: ResetAnswer
) -> None:
    _, link = await read(reader)
    emulator.graph.delta.switches.reset_answer = answer
    emulator.graph.delta.expire()
    before = reader.requests
    with pytest.raises(ResyncRequired):
        await read(reader, link)
    assert reader.requests - before == 1
    users, _ = await read(reader)
    assert len(users) == PEOPLE


async def test_a_round_that_is_withdrawn_in_its_middle_asks_for_a_full_read(
    reader: Graph, emulator: MicrosoftEmulator
) -> None:
    emulator.faults.append(fault("reset", query={"$skiptoken": "*"}, options={"answer": "410"}))
    with pytest.raises(ResyncRequired):
        await read(reader)


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(400, "Request_BadRequest", BadRequest), (404, "Request_ResourceNotFound", NotFound)]
)
async def test_other_refusals_of_a_round_are_no_resync(
    reader: Graph, emulator: MicrosoftEmulator, status: int, code: str, kind: type[Exception]
) -> None:
    emulator.faults.append(refusal(status, code))
    with pytest.raises(kind):
        await read(reader)


async def test_an_answer_of_another_shape_names_the_member(reader: Graph, emulator: MicrosoftEmulator) -> None:
    emulator.faults.append(fault(status=200, body={"value": [{"id": 7}], "@odata.deltaLink": "x"}))
    with pytest.raises(BadRequest, match=r"\$\.value\[0\]\.id"):
        await read(reader)


def test_a_page_decodes_what_was_cleared_and_what_was_never_set_alike() -> None:
    import msgspec

    raw = b'{"value":[{"id":"a","mobilePhone":null},{"id":"b"}],"@odata.deltaLink":"x","more":1}'
    page = msgspec.json.decode(raw, type=UserPage)
    assert [user.mobile_phone for user in page.value] == [None, None]
