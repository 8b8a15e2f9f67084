"""The file for support requests: what it tells, and that it tells nothing about anybody."""

import datetime
import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from console.diagnostics import Facts, Marks, compose, gather
from store.audit import Entry
from store.document import Groups, GroupScope, Microsoft, Pbx, Settings
from store.environment import Environment, StorageAccount
from store.health import Health, PbxFacts, Reason
from store.runs import Fault, Run, RunItem, Step
from sync.status import PbxStatus, SecretExpiry, Status
from sync.subscriptions import View
from tests.console.site import SETUP_KEY, Site
from tests.engine.world import PBX_SECRET

NOW = datetime.datetime(2026, 3, 2, 9, 0, tzinfo=datetime.UTC)
STAMP = "2026-03-02T09:00:00+00:00"
DOWNLOAD = "/console/connection/diagnostics"
TRACE = """Traceback (most recent call last):
  File "/home/site/wwwroot/sync/running.py", line 12, in execute
    await stage(%s)
ValueError: %s
"""


def facts(said: str) -> Facts:
    """A connection in which every text that can be about somebody says this."""
    health = Health(
        reasons=[Reason("pbx_refused", said, said, STAMP)],
        pbx=PbxFacts(model=f"{said}@", firmware=f"{said}@", serial=said),
        secrets={"pbx-client-secret": said},
        tenant=[said],
        held={said: "open"},
        last_run=said,
    )
    run = Run(
        id="97000000000000-abcdef",
        what=["users"],
        mode="full",
        object_id=said,
        started_by="api",
        requested_at=STAMP,
        message=said,
        explanation=[Step(said, said, said)],
        fault=Fault("internal", f"a fault of the bridge itself: ValueError: {said}", said, TRACE % (said, said)),
    )
    item = RunItem(
        operation="update",
        outcome="failed",
        object_id=said,
        name=said,
        user_principal_name=said,
        extension=said,
        reason=said,
        before={"first_name": said},
        after={"first_name": said, f"{said}!": said},
        notes=[said],
        errcode=60004,
        at=STAMP,
    )
    status = Status(
        connection=said,
        state="needs_attention",
        reasons=health.reasons,
        paused=[],
        disabled=False,
        last_run=None,
        next_run=STAMP,
        last_full_success=STAMP,
        counts={"users": 1, "groups": 0},
        subscriptions=[View("users", "live", STAMP, said)],
        warnings=[said],
        secret_expiry=SecretExpiry(STAMP, 3),
        pbx=PbxStatus(fqdn=said, model=f"{said}@", firmware=f"{said}@", serial=said),
        capacity=None,
    )
    return Facts(
        environment=Environment(
            storage=StorageAccount(said, said, said),
            key_vault_url=said,
            public_base_url=said,
            identity_client_id=said,
            graph_base_url=said,
            entra_authority=said,
            tenant_id=said,
            client_id=said,
            pbx_fqdn=said,
            pbx_client_id=said,
            setup_key=said,
        ),
        settings=Settings(
            microsoft=Microsoft(tenant_id=said, client_id=said),
            pbx=Pbx(fqdn=said, client_id=said, ca_certificate=said),
            groups=Groups(scope=GroupScope(kind="groups", group_ids=[said])),
        ),
        revision=7,
        status=status,
        health=health,
        runs=[run],
        items=[item],
        links={"users.linked": 1},
        entries=[Entry(at=STAMP, who=said, account=said, role="admin", action="settings.saved", object=said,
                       before=said, after=said)],
    )  # fmt: skip


def told(said: str, salt: bytes = b"salt") -> Any:
    return json.loads(compose(facts(said), salt, NOW))


personal = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).map(
    lambda text: f"Zoë {text} Qvist"
)


@settings(deadline=None)
@given(personal)
def test_no_text_about_anybody_is_in_the_file(said: str) -> None:
    raw = compose(facts(said), b"salt", NOW).decode()
    assert said not in raw
    assert json.dumps(said)[1:-1] not in raw
    assert "Qvist" not in raw
    assert "Zoë" not in raw


@settings(deadline=None)
@given(personal)
def test_the_file_has_the_same_shape_whatever_it_is_about(said: str) -> None:
    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: shape(inner) for name, inner in value.items()}
        return [shape(inner) for inner in value] if isinstance(value, list) else type(value).__name__

    assert shape(told(said)) == shape(told("Zoë Qvist"))


@given(st.text(), st.text())
def test_marks_agree_within_a_file_whatever_the_case(one: str, other: str) -> None:
    marks = Marks(b"salt")
    assert (marks.of(one) == marks.of(other)) == (one.casefold() == other.casefold())


@given(st.text(min_size=1), st.binary(min_size=1, max_size=8))
def test_marks_of_two_files_have_nothing_in_common(text: str, salt: bytes) -> None:
    assert Marks(salt + b"1").of(text) != Marks(salt + b"2").of(text)


def test_what_helps_is_there() -> None:
    file = told("Ada Byron")
    assert file["status"]["state"] == "needs_attention"
    assert file["settings"]["schedule"]["time_zone"] == "UTC"
    assert file["settings"]["guard"]["max_deletions"] == 20
    assert file["runs"][0]["fault"] == {
        "code": "internal", "codes": [], "type": "ValueError", "frames": ["sync/running.py:12 execute"],
    }  # fmt: skip
    assert file["newest_run"]["tally"] == {"users.update.failed.60004": 1}
    assert file["newest_run"]["notable"][0]["fields"] == ["first_name"]
    assert file["runs"][0]["object_id"] == file["newest_run"]["notable"][0]["object"]
    assert file["versions"]["msgspec"] == msgspec.__version__
    assert file["status"]["secrets_stored"] == ["pbx-client-secret"]


def test_numbers_of_entra_and_the_pbx_survive_in_messages() -> None:
    file = told("AADSTS7000222: for Ada, then HTTP 503 and errcode 60004, said Ada")
    assert file["status"]["reasons"][0]["codes"] == ["AADSTS7000222", "HTTP 503", "errcode 60004"]
    assert "Ada" not in json.dumps(file)


# The real thing


async def test_nothing_of_the_tenant_or_its_secrets_is_in_a_download(sample_site: Site) -> None:
    world = sample_site.world
    await world.secrets()
    [message] = await world.enable()
    run = await world.execute(message)
    assert run.counts.get("create.done", 0) > 20
    await sample_site.sign_in(name="Ada Byron-Lovelace")
    page = await sample_site.post(DOWNLOAD)
    assert page.status == 200
    assert page.headers["content-type"] == "application/json"
    assert page.headers["content-disposition"].startswith('attachment; filename="entra-bridge-diagnostics-2026')
    raw = page.body.decode()
    lowered, file = raw.casefold(), json.loads(raw)
    assert sum(file["newest_run"]["tally"].values()) > 20
    links = await world.links()
    values = {value for link in links for value in (link.object_id, link.name, link.email, link.user_principal_name,
                                                    *link.written.values())}  # fmt: skip
    entities = [entity.properties for entity in world.microsoft.directory.entities.values()]
    values |= {
        str(entity.get(name) or "") for entity in entities for name in ("id", "displayName", "mail", "mobilePhone")
    }
    settings = await sample_site.settings()
    values |= {settings.microsoft.tenant_id, settings.microsoft.client_id, settings.pbx.fqdn, settings.pbx.client_id,
               PBX_SECRET, SETUP_KEY, "Byron-Lovelace", "contoso.example", world.microsoft.url}  # fmt: skip
    leaked = {value for value in values if len(value) > 4 and value.casefold() in lowered}
    assert leaked == set()
    texts = set(raw.replace('"', "\n").splitlines())
    assert texts.isdisjoint({link.number for link in links})


async def test_two_downloads_share_no_mark(site: Site) -> None:
    await site.sign_in()
    files = [json.loads((await site.post(DOWNLOAD)).body) for _ in range(2)]
    marks = [file["settings"]["microsoft"]["tenant_id"] for file in files]
    assert marks[0].startswith("#")
    assert marks[0] != marks[1]


async def test_a_download_is_recorded(site: Site) -> None:
    await site.sign_in()
    await site.post(DOWNLOAD)
    assert [entry.action for entry in await site.trail()] == ["diagnostics.downloaded"]


async def test_readers_may_not_download_it(site: Site) -> None:
    await site.sign_in("reader")
    assert (await site.post(DOWNLOAD)).status == 403


async def test_a_connection_without_anything_has_a_file_too(site: Site) -> None:
    gathered = await gather(site.connection, NOW)
    file = json.loads(compose(gathered, b"salt", NOW))
    assert file["runs"] == []
    assert file["newest_run"] == {"tally": {}, "notable": []}
