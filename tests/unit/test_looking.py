"""What the daemon tells about itself, what it writes down about changes, and the calls behind the connect dialog."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway import control, daemon, settings
from gateway.client import CallFailed, Client, connected
from gateway.control import (
    ActivateTouchpoint,
    AddRelayUser,
    Call,
    CloseMail,
    ConnectTouchpoint,
    CreateTouchpoint,
    DeactivateTouchpoint,
    EditRelayUser,
    EditTouchpoint,
    ListAudit,
    ListLog,
    ListPresets,
    ListSettings,
    PlanConnect,
    SetConnection,
    SetDirection,
    SetTemplate,
    SettingRow,
    TryTouchpoint,
    WhoAmI,
)
from gateway.desk.looking import _setting_rows
from gateway.views import MOST_BYTES
from pipeline import people, touchpoints
from pipeline.errors import AuthRequired, NetworkFault, PostroomError, Refused
from pipeline.people import Actor
from pipeline.touchpoint import Connection, DirectionType, Server
from tests.unit.desking import PASSWORD, Office, an_office
from tests.unit.making import NOW, OURS, a_touchpoint


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with an_office(tmp_path) as made:
        yield made


@pytest.fixture
async def client(office: Office) -> AsyncIterator[Client]:
    async with connected(office.socket) as made:
        yield made


# -- The log and the providers -------------------------------------------------------------------------------------


async def test_the_log_is_read_over_the_socket(office: Office, client: Client) -> None:
    for text in ("one", "two", "three"):
        office.journal.handle(logging.LogRecord("x", logging.INFO, "", 0, text, (), None))
    page = await client.call(ListLog(text="t", limit=1))
    assert ([row.text for row in page.rows], page.next) == (["three"], 3)
    page = await client.call(ListLog(text="t", after=page.next))
    assert ([row.text for row in page.rows], page.next) == (["two"], 0)
    with pytest.raises(CallFailed, match="there is no level 'x'"):
        await client.call(ListLog(level="x"))


async def test_providers_and_their_servers(client: Client) -> None:
    rows = {row.name: row for row in (await client.call(ListPresets())).rows}
    assert next(iter(rows)) == "custom"
    assert (rows["custom"].imap, rows["custom"].smtp) == (None, None)
    assert rows["yahoo"].imap == control.ServerRow(host="imap.mail.yahoo.com", port=993, security="tls")
    assert "app password" in rows["gmail-imap"].password


# -- Settings ------------------------------------------------------------------------------------------------------


def shown(path: Path) -> dict[str, SettingRow]:
    return {row.key: row for row in _setting_rows(settings.load(path))}


async def test_settings_are_read_over_the_socket_in_the_order_of_the_file(client: Client) -> None:
    rows = (await client.call(ListSettings())).rows
    sections = list(dict.fromkeys(row.key.partition(".")[0] for row in rows))
    assert sections == ["daemon", "relay", "intake", "lines", "stages", "held", "retry", "roles", "notices"]
    assert {(row.file, row.line) for row in rows} == {("", 0)}
    values = {row.key: row.value for row in rows}
    assert values["relay.largest_mail"] == "52428800"
    assert values["relay.listener.0.mode"] == '"submission"'
    assert values["relay.network"] == "[]"
    assert values["intake.folders"] == '["inbox", "junk"]'
    assert values["stages.auto_reply.postmaster_is_robot"] == "true"


def test_the_annotated_file_names_every_setting_on_its_line_and_in_this_order() -> None:
    path = Path(settings.__file__).parents[1] / "conf" / "postroom.toml"
    lines = path.read_text("utf-8").splitlines()
    rows = [row for row in _setting_rows(settings.load(path)) if row.line]
    assert [row.line for row in rows] == sorted(row.line for row in rows)
    for row in rows:
        assert lines[row.line - 1].startswith(f"{row.key.rpartition('.')[2]} = {row.value}"), row
    assert len(rows) > 35


def test_each_setting_says_which_file_set_it(tmp_path: Path) -> None:
    main, extra = tmp_path / "postroom.toml", tmp_path / "conf.d" / "1.toml"
    extra.parent.mkdir()
    main.write_text(
        '[daemon]\nhostname = ""\nsocket = "/run/x.sock"\n[relay]\nrecipients = 7\nconnections = 8\n'
        "[stages.auto_reply]\nquiet_days = 3\n"
    )
    extra.write_text("relay.connections = 9\n")
    rows = shown(main)
    assert rows["relay.recipients"] == SettingRow(key="relay.recipients", value="7", file=str(main), line=5)
    assert rows["relay.connections"] == SettingRow(key="relay.connections", value="9", file=str(extra), line=1)
    assert (rows["stages.auto_reply.quiet_days"].line, rows["stages.auto_reply.per_hour"].line) == (8, 0)
    assert (rows["daemon.socket"].value, rows["daemon.socket"].line) == ('"/run/x.sock"', 3)
    assert rows["daemon.hostname"].value == f'"{settings.load(main).hostname}"'
    assert (rows["daemon.hostname"].file, rows["daemon.hostname"].line) == ("", 0)


def test_a_list_that_a_later_file_writes_anew_has_no_line_in_the_earlier_one(tmp_path: Path) -> None:
    main, extra = tmp_path / "postroom.toml", tmp_path / "conf.d" / "1.toml"
    extra.parent.mkdir()
    listener = '[[relay.listener]]\nname = "{}"\nport = {}\n'
    main.write_text(listener.format("a", 1) + 'host = "127.0.0.2"\n' + listener.format("b", 2))
    extra.write_text(listener.format("c", 3))
    rows = {key: row for key, row in shown(main).items() if key.startswith("relay.listener.")}
    assert {key.split(".")[2] for key in rows} == {"0"}
    assert (rows["relay.listener.0.name"].value, rows["relay.listener.0.name"].file) == ('"c"', str(extra))
    assert (rows["relay.listener.0.host"].value, rows["relay.listener.0.host"].file) == ('"127.0.0.1"', "")


def test_what_a_stage_hides_from_its_repr_is_not_shown() -> None:
    @dataclass(frozen=True)
    class Stage:
        server: str = "a.example"
        key: str = field(default="open sesame", repr=False)

    loaded = settings.load(None)
    made = settings.Settings(
        **{name: getattr(loaded, name) for name in ("daemon", "relay", "lines", "intake", "roles", "notices", "retry")},
        stages={"mine": Stage()},  # type: ignore[dict-item]
    )
    keys = {row.key: row.value for row in _setting_rows(made) if row.key.startswith("stages.")}
    assert keys == {"stages.mine.server": '"a.example"'}


# -- The audit -----------------------------------------------------------------------------------------------------


async def test_the_audit_is_searched(office: Office, client: Client) -> None:
    def work(tx: Any) -> None:
        for number, (name, verb, subject, detail) in enumerate(
            [
                ("ops", "mail.close", "mail 17", {}),
                ("ops", "mail.close", "mail 171", {}),
                ("admin", "touchpoint.edit", OURS, {"name": "50% off_er"}),
                ("admin", "touchpoint.edit", "sales@example.org", {"name": "Sales"}),
            ]
        ):
            people.audit(tx, Actor(name=name, uid=1, role="admin"), verb, subject, NOW + number, detail)

    await office.room.store.write(work)

    async def found(**asked: Any) -> list[int]:
        return [row.id for row in (await client.call(ListAudit(**asked))).rows]

    assert await found() == [4, 3, 2, 1]
    assert await found(subject="mail 17") == [1]
    assert await found(subject=OURS) == [3]
    assert await found(subject="example") == []
    for text, ids in {
        "OPS": [2, 1],
        "touchpoint.E": [4, 3],
        "example.org": [4],
        "sales": [4],
        "17": [2, 1],
    }.items():
        assert await found(text=text) == ids, text
    assert await found(text="50%") == [3]
    assert await found(text="off_er") == [3]
    assert await found(text="%") == [3]
    assert await found(text="\\") == []
    assert await found(text="x" * 100_000) == []
    assert await found(text="mail", subject="mail 171") == [2]
    assert await found(after=4, limit=2) == [3, 2]
    assert await found(text="ops", after=2) == [1]


async def details(client: Client) -> list[dict[str, Any]]:
    return [json.loads(row.detail) for row in (await client.call(ListAudit())).rows]


async def test_a_changed_relay_user_is_written_down_with_addresses_and_with_what_was(client: Client) -> None:
    await client.call(AddRelayUser(name="shop", password="long enough", notify="ops@acme.example"))
    await client.call(EditRelayUser(name="shop", notify="desk@acme.example", grant=("1",), signature=True))
    assert (await details(client))[0] == {
        "notify": "desk@acme.example",
        "signature": "True",
        "grant": [OURS],
        "was": {"notify": "ops@acme.example", "signature": "False"},
    }


async def test_whence_a_session_comes_stands_with_its_changes(office: Office, client: Client) -> None:
    number = await office.room.take()
    await client.call(CloseMail(id=number))
    await client.call(WhoAmI(via="ssh 192.0.2.7"))
    await client.call(WhoAmI())
    await client.call(SetDirection(touchpoint=OURS, direction=DirectionType.INBOUND))
    async with connected(office.socket) as another:
        await another.call(WhoAmI(via=f" \x1b[2Jhere\u202e\n{'x' * 500}"))
        await another.call(DeactivateTouchpoint(touchpoint=OURS))
    last, second, first = await details(client)
    assert "via" not in first
    assert second["via"] == "ssh 192.0.2.7"
    assert last["via"].startswith("\\x1b[2Jhere\\u202e\\x0axxx")
    assert len(last["via"]) == 100


async def test_a_change_of_a_touchpoint_says_what_was_before(office: Office, client: Client) -> None:
    await office.room.store.write(lambda tx: touchpoints.record_state(tx, 1, state="connected", now=NOW))
    calls: tuple[tuple[Call[Any], dict[str, Any]], ...] = (
        (EditTouchpoint(touchpoint=OURS, name="New"), {"name": "New", "was": {"name": "Support"}}),
        (
            EditTouchpoint(touchpoint=OURS, aliases=("b@example.org", "a@example.org"), signs_relayed=True),
            {
                "aliases": "b@example.org a@example.org",
                "signs_relayed": "True",
                "was": {"aliases": "", "signs_relayed": "False"},
            },
        ),
        (
            EditTouchpoint(touchpoint=OURS, aliases=()),
            {"aliases": "", "was": {"aliases": "a@example.org b@example.org"}},
        ),
        (
            SetDirection(touchpoint=OURS, direction=DirectionType.INBOUND),
            {"direction": "inbound", "was": {"direction": "both"}},
        ),
        (DeactivateTouchpoint(touchpoint=OURS), {"active": 0, "was": {"active": 1}}),
        (
            ActivateTouchpoint(touchpoint=OURS),
            {"active": 1, "start_now": 0, "skipped": 0, "was": {"active": 0}},
        ),
        (
            SetConnection(touchpoint=OURS, imap="imap.example.org:993", user="desk"),
            {"imap": "imap.example.org:993", "user": "desk", "was": {"imap": "", "user": ""}},
        ),
        (
            SetTemplate(touchpoint=OURS, kind="signature", text="y" * 300, active=True),
            {"text": "y" * 200, "active": "True", "was": {"text": "", "active": "False"}},
        ),
        (
            SetTemplate(touchpoint=OURS, kind="signature", text="Bye"),
            {"text": "Bye", "was": {"text": "y" * 200}},
        ),
    )
    for call, detail in calls:
        await client.call(call)
        assert (await details(client))[0] == detail


async def test_a_preset_tells_all_that_it_changes(client: Client) -> None:
    await client.call(SetConnection(touchpoint=OURS, imap="imap.example.org:993", smtp="smtp.example.org:465"))
    await client.call(SetConnection(touchpoint=OURS, preset="yahoo"))
    detail = (await details(client))[0]
    assert detail["preset"] == "yahoo"
    assert detail["was"] | {"imap": "imap.example.org:993:tls", "smtp": "smtp.example.org:465:tls"} == detail["was"]
    assert detail["was"]["preset"] == "custom"
    assert "mark" not in detail["was"]


async def test_no_password_is_written_down(client: Client) -> None:
    await client.call(SetConnection(touchpoint=OURS, imap="imap.example.org:993"))
    await client.call(ConnectTouchpoint(touchpoint=OURS, password=PASSWORD))
    await client.call(TryTouchpoint(touchpoint=OURS, password=PASSWORD))
    assert PASSWORD not in str((await client.call(ListAudit())).rows)


async def test_the_longest_change_can_be_read_again(client: Client) -> None:
    aliases = tuple(f"{'a' * 50}{number}@example.org" for number in range(10_000))
    await client.call(EditTouchpoint(touchpoint=OURS, aliases=aliases))
    await client.call(EditTouchpoint(touchpoint=OURS, aliases=aliases[1:]))
    page = await client.call(ListAudit())
    assert len(page.rows) == 2
    assert sum(len(row.detail) for row in page.rows) < MOST_BYTES


# -- The connect dialog --------------------------------------------------------------------------------------------


@pytest.fixture
async def reachable(client: Client) -> Client:
    """Our touchpoint has both halves."""
    await client.call(SetConnection(touchpoint=OURS, imap="imap.example.org:993", smtp="smtp.example.org:465"))
    return client


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, ("", "", "no answer", "network")),
        ({"password": PASSWORD}, ("", "", "no answer", "network")),
        ({"password": "wrong"}, ("the server refused the login", "credential", "no answer", "network")),
        ({"password": "wrong", "half": "receiving"}, ("the server refused the login", "credential", "", "")),
        ({"half": "receiving"}, ("", "", "", "")),
        ({"password": "wrong", "half": "sending"}, ("", "", "no answer", "network")),
    ],
)
async def test_a_try_tells_causes_apart(reachable: Client, asked: dict[str, Any], told: tuple[str, ...]) -> None:
    row = await reachable.call(TryTouchpoint(touchpoint=OURS, **asked))
    assert (row.receiving, row.receiving_cause, row.sending, row.sending_cause) == told


async def test_a_half_that_there_is_not_is_refused(reachable: Client) -> None:
    with pytest.raises(CallFailed, match="there are: receiving, sending"):
        await reachable.call(TryTouchpoint(touchpoint=OURS, half="both"))


async def test_a_plan_says_whose_mailbox_it_is_and_changes_nothing(office: Office, reachable: Client) -> None:
    await office.room.store.write(lambda tx: touchpoints.set_mailbox_identity(tx, 1, "imap.example.org support"))
    await reachable.call(CreateTouchpoint(address="sales@example.org", name="Sales"))
    await reachable.call(SetConnection(touchpoint="sales@example.org", imap="imap.example.org:993"))
    before = await details(reachable)
    plan = await reachable.call(PlanConnect(touchpoint="sales@example.org"))
    assert f"is the same mailbox as the touchpoint {OURS}" in plan.twin
    assert (plan.principal, plan.folders[0].there) == ("support", 5)
    assert (await reachable.call(PlanConnect(touchpoint=OURS))).twin == ""
    assert await details(reachable) == before
    assert office.house.passwords == {}


BOTH = Connection(
    user="support",
    imap=Server(host="imap.example.org", port=993),
    smtp=Server(host="smtp.example.org", port=465),
)


@dataclass
class Way:
    """One half of a connector, as the daemon makes it for a try."""

    error: PostroomError | None
    log: list[str]

    async def open(self) -> None:
        self.log.append("open")
        if self.error:
            raise self.error

    async def close(self) -> None:
        self.log.append("close")


@pytest.mark.parametrize(
    ("half", "connection", "wrong", "log"),
    [
        ("", BOTH, (AuthRequired, NetworkFault), ["in: given", "open", "close", "out: given", "open", "close"]),
        ("receiving", BOTH, (AuthRequired, None), ["in: given", "open", "close"]),
        ("sending", BOTH, (None, NetworkFault), ["out: given", "open", "close"]),
        ("receiving", Connection(smtp=BOTH.smtp), (None, None), []),
    ],
    ids=["both", "receiving", "sending", "not there"],
)
async def test_the_daemon_tries_what_it_is_asked_to(
    half: str,
    connection: Connection,
    wrong: tuple[type[PostroomError] | None, ...],
    log: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = daemon.Daemon(settings.load(None))
    tp = a_touchpoint(connection=connection)
    house.services = SimpleNamespace(directory=SimpleNamespace(touchpoints={1: tp}))  # type: ignore[assignment]
    seen: list[str] = []

    async def receiving(touchpoint: Any, password: str | None = None) -> Way | None:
        if touchpoint.connection.imap is None:
            return None
        seen.append(f"in: {password}")
        return Way(AuthRequired("no"), seen)

    async def sending(touchpoint: Any, password: str | None = None) -> Way | None:
        seen.append(f"out: {password}")
        return Way(NetworkFault("no"), seen)

    monkeypatch.setattr(house, "_receiving", receiving)
    monkeypatch.setattr(house, "_sending", sending)
    found = await house.test(1, "given", half)
    assert tuple(error and type(error) for error in found) == wrong
    assert seen == log
    with pytest.raises(Refused, match="no touchpoint 2"):
        await house.test(2)
