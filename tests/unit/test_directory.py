"""The directory: what may stand in it, what each change does, and that every change counts the version up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pipeline import directory, people, touchpoints
from pipeline.directory import Directory, connection_from_json, connection_to_json
from pipeline.errors import Refused
from pipeline.names import check_address, check_name, check_pattern, visible
from pipeline.store import Tx
from pipeline.touchpoint import Connection, DirectionType, Security, SentCopy, Server, UnknownPolicy, normalise
from pipeline.touchpoints import TemplateKind
from tests.unit.making import NOW, OURS, Room, a_mail, a_room, an_outcome

HOST = "post.example"
CONNECTION = Connection(
    preset="yahoo",
    user="support",
    imap=Server(host="imap.example.org", port=993),
    smtp=Server(host="smtp.example.org", port=587, security=Security.STARTTLS),
    sent_copy=SentCopy.APPEND,
    null_sender=False,
    mark="move:Done",
    unknown_outcome=UnknownPolicy.HOLD_FOR_PERSON,
)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with a_room(tmp_path) as made:
        await made.store.write(lambda tx: directory.first_start(tx, bytes(range(48))))
        yield made


async def load(room: Room) -> Directory:
    return await room.store.read(lambda tx: directory.load(tx, HOST))


def create(tx: Tx, address: str = "sales@example.org", **more: Any) -> int:
    return touchpoints.create(tx, address=address, name="Sales", now=NOW, **more)


# -- What may stand in it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "good",
    [
        "a@example.org",
        "A.b+c@Example.ORG",
        "grün@bücher.example",
        "用户@例え.example",
        "x@localhost",
        "o'n/eil=1@a.example",
    ],
)
def test_addresses_that_are_taken(good: str) -> None:
    assert check_address(f"  {good} ") == good


@pytest.mark.parametrize(
    "bad",
    [
        "", "a", "@example.org", "a@", "a@b@example.org", "a b@example.org", "a\r\nBcc: x@example.org",
        "a\0@example.org",
        ".a@example.org", "a.@example.org", "a..b@example.org", '"a b"@example.org', "a@[127.0.0.1]", "a@exa mple.org",
        "a@-x.example", "a@x-.example", "a@" + "x" * 64 + ".example", "a" * 65 + "@example.org", "a@example..org",
        "a@" + ".".join(["xx"] * 100), "a@x_\u202ey.example", "a\u200b@example.org", "<a@example.org>",
        "a,b@example.org",
        "a@127", "a@" + "ü" * 5000 + ".example",
    ],
)  # fmt: skip
def test_addresses_that_are_not(bad: str) -> None:
    with pytest.raises(Refused) as caught:
        check_address(bad)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 600


@given(st.text(max_size=80))
def test_no_text_breaks_the_checks(text: str) -> None:
    for check in (check_address, check_pattern, lambda each: check_name(each, "the name")):
        try:
            shown = check(text)
        except Refused:
            continue
        assert shown
        assert visible(shown)
        assert "\n" not in shown


@pytest.mark.parametrize(
    ("raw", "stored"),
    [
        ("Pest@Example.ORG", "pest@example.org"),
        ("@Example.ORG", "@example.org"),
        ("example.org", "@example.org"),
        ("@bücher.example", "@xn--bcher-kva.example"),
    ],
)
def test_blocklist_patterns(raw: str, stored: str) -> None:
    assert check_pattern(raw) == stored


def test_a_connection_survives_its_storage() -> None:
    assert connection_from_json(connection_to_json(CONNECTION)) == CONNECTION
    assert connection_from_json("{}") == Connection()
    assert connection_from_json('{"key_of_tomorrow": 1, "user": "u"}') == Connection(user="u")


# -- The snapshot --------------------------------------------------------------------------------------------------


async def test_the_snapshot_has_everything(room: Room) -> None:
    def work(tx: Tx) -> None:
        touchpoints.edit(tx, 1, aliases=["Help@Example.org"])
        touchpoints.set_connection(tx, 1, CONNECTION)
        touchpoints.link(tx, 1, 2)
        touchpoints.block(tx, 1, "@pest.example", by="root", now=NOW)
        touchpoints.set_template(tx, 1, TemplateKind.AUTO_REPLY, NOW, active=True, text="Thanks", subject="Got it")
        touchpoints.set_template(tx, 1, TemplateKind.SIGNATURE, NOW, text="Bye", html="<p>Bye</p>")
        people.add_relay_user(tx, "billing", "$hash", NOW, notify="ops@example.org", signature=True)
        people.grant(tx, "billing", [1])

    await room.store.write(work)
    found = await load(room)
    tp = found.find("HELP@example.org")
    assert tp is not None
    assert tp is found.find(OURS) is found.touchpoints[1]
    assert tp.connection == CONNECTION
    assert found.queues_of(tp) == ("second",)
    assert tp.blocklist == {"@pest.example"}
    assert (tp.auto_reply.active, tp.auto_reply.subject, tp.auto_reply.text) == (True, "Got it", "Thanks")
    assert (tp.signature.active, tp.signature.html) == (False, "<p>Bye</p>")
    user = found.relay_users["billing"]
    assert (user.grants, user.signature, user.notify) == ({1}, True, "ops@example.org")
    assert found.password_hashes["billing"] == "$hash"
    assert "$hash" not in repr(found)
    assert found.installation.addresses == {OURS, "help@example.org", "ops@example.org"}
    assert found.installation.hostname == HOST


async def test_who_we_are_is_fixed_at_the_first_start(room: Room) -> None:
    first = (await load(room)).installation
    await room.store.write(lambda tx: directory.first_start(tx, bytes(48)))
    again = (await load(room)).installation
    assert (again.id, again.message_ids) == (first.id, first.message_ids)
    assert first.id == bytes(range(16)).hex()


async def test_a_store_that_was_never_started_has_no_directory(tmp_path: Path) -> None:
    async with a_room(tmp_path) as room:
        with pytest.raises(Refused, match="postroom run"):
            await load(room)


# -- Changes -------------------------------------------------------------------------------------------------------

CHANGES: list[Callable[[Tx], object]] = [
    lambda tx: touchpoints.edit(tx, 1, name="Other"),
    lambda tx: touchpoints.set_direction(tx, 1, DirectionType.INBOUND),
    lambda tx: touchpoints.set_connection(tx, 1, CONNECTION),
    lambda tx: touchpoints.set_mailbox_identity(tx, 1, "x"),
    lambda tx: touchpoints.deactivate(tx, 1),
    lambda tx: touchpoints.link(tx, 1, 1),
    lambda tx: touchpoints.block(tx, 1, "@pest.example", now=NOW),
    lambda tx: touchpoints.set_template(tx, 1, TemplateKind.SIGNATURE, NOW, text="x"),
]


@pytest.mark.parametrize("change", CHANGES)
async def test_each_change_counts_the_version_up_once(room: Room, change: Callable[[Tx], object]) -> None:
    before = (await load(room)).touchpoints[1]
    await room.store.write(change)
    after = (await load(room)).touchpoints[1]
    assert after.version == before.version + 1
    assert after != before


@pytest.mark.parametrize("change", CHANGES)
async def test_a_deleted_touchpoint_cannot_be_changed(room: Room, change: Callable[[Tx], object]) -> None:
    await room.store.write(lambda tx: touchpoints.delete(tx, 1, NOW))
    with pytest.raises(Refused, match="no touchpoint 1"):
        await room.store.write(change)


async def test_the_state_of_a_connection_is_not_part_of_the_page(room: Room) -> None:
    await room.store.write(lambda tx: touchpoints.record_state(tx, 1, state="lost", cause="credential", now=NOW))
    assert (await load(room)).touchpoints[1].version == 1


@pytest.mark.parametrize("taken", [OURS, OURS.upper(), "help@example.org"])
async def test_one_address_one_live_touchpoint(room: Room, taken: str) -> None:
    await room.store.write(lambda tx: touchpoints.edit(tx, 1, aliases=["help@example.org"]))
    with pytest.raises(Refused, match="already"):
        await room.store.write(lambda tx: create(tx, taken))
    with pytest.raises(Refused, match="already"):
        await room.store.write(lambda tx: create(tx, aliases=[taken]))
    await room.store.write(lambda tx: touchpoints.delete(tx, 1, NOW))
    assert await room.store.write(lambda tx: create(tx, taken)) == 2


async def test_address_and_friendly_name_are_mandatory(room: Room) -> None:
    with pytest.raises(Refused):
        await room.store.write(lambda tx: create(tx, " "))
    with pytest.raises(Refused, match="friendly name must not be empty"):
        await room.store.write(lambda tx: touchpoints.create(tx, address="a@example.org", name="\t", now=NOW))


async def test_a_new_touchpoint_is_neither_connected_nor_active(room: Room) -> None:
    number = await room.store.write(create)
    made = (await load(room)).touchpoints[number]
    assert (made.active, made.version, made.direction) == (False, 1, DirectionType.BOTH)
    with pytest.raises(Refused, match="postroom touchpoint connect sales"):
        await room.store.write(lambda tx: touchpoints.activate(tx, number, NOW))
    await room.store.write(lambda tx: touchpoints.record_state(tx, number, state="backoff", now=NOW))
    await room.store.write(lambda tx: touchpoints.activate(tx, number, NOW + 5))
    found = (await load(room)).touchpoints[number]
    assert (found.active, found.activated_at) == (True, NOW + 5)


async def test_the_address_is_fixed_once_connected(room: Room) -> None:
    await room.store.write(lambda tx: touchpoints.edit(tx, 1, address="new@example.org"))
    await room.store.write(lambda tx: touchpoints.set_mailbox_identity(tx, 1, "imap.example.org new"))
    with pytest.raises(Refused, match="duplicate"):
        await room.store.write(lambda tx: touchpoints.edit(tx, 1, address="newer@example.org"))
    await room.store.write(lambda tx: touchpoints.edit(tx, 1, address="New@Example.org"))
    assert (await load(room)).touchpoints[1].address == "New@Example.org"


async def test_a_duplicate_has_the_settings_and_nothing_of_the_mailbox(room: Room) -> None:
    def work(tx: Tx) -> int:
        touchpoints.edit(tx, 1, aliases=["help@example.org"], signs_relayed=True)
        touchpoints.set_connection(tx, 1, CONNECTION)
        touchpoints.set_mailbox_identity(tx, 1, "imap.example.org support")
        touchpoints.put_secret(tx, 1, "password", b"sealed", NOW)
        touchpoints.link(tx, 1, 1)
        touchpoints.block(tx, 1, "@pest.example", now=NOW)
        touchpoints.set_template(tx, 1, TemplateKind.AUTO_REPLY, NOW, active=True, text="Thanks")
        return touchpoints.duplicate(tx, 1, address="copy@example.org", name="Copy", now=NOW)

    number = await room.store.write(work)
    found = await load(room)
    original, copy = found.touchpoints[1], found.touchpoints[number]
    for same in ("direction", "blocklist", "ring_groups", "auto_reply", "signature", "signs_relayed"):
        assert getattr(copy, same) == getattr(original, same), same
    assert copy.connection.imap == CONNECTION.imap
    assert (copy.address, copy.aliases, copy.active, copy.mailbox_identity) == (
        "copy@example.org",
        frozenset(),
        False,
        "",
    )
    assert copy.connection.user == ""
    assert await room.store.read(lambda tx: touchpoints.get_secret(tx, number, "password")) is None


@pytest.mark.parametrize("left", ["queued", "held", "waiting", "remote"])
async def test_delete_is_refused_while_mail_is_pending(room: Room, left: str) -> None:
    if left == "queued":
        entry = await room.take()
    elif left == "held":
        entry = await room.take()
        await room.spool.hold(entry, "root")
    elif left == "waiting":
        entry = await room.relay()
    else:
        sql = "INSERT INTO ledger (touchpoint_id, folder, epoch, remote_id, state) VALUES (1, 'INBOX', 1, 9, 'pending')"
        await room.store.write(lambda tx: tx.run(sql))
    with pytest.raises(Refused, match="--pending"):
        await room.store.write(lambda tx: touchpoints.delete(tx, 1, NOW))
    if left == "remote":
        await room.store.write(lambda tx: touchpoints.delete(tx, 1, NOW, leave_remote=True))
    else:
        await (room.spool.close(entry, "root") if left == "queued" else room.spool.drop(entry, "root"))
        await room.store.write(lambda tx: touchpoints.delete(tx, 1, NOW))
    assert (await load(room)).touchpoints == {}


async def test_a_tombstone_keeps_history_and_destroys_secrets(room: Room) -> None:
    entry = await room.take(outcome=an_outcome(a_mail(), ring_groups=(1,)))
    await room.spool.close(entry, "root")

    def work(tx: Tx) -> None:
        touchpoints.put_secret(tx, 1, "password", b"sealed", NOW)
        people.add_relay_user(tx, "billing", "$hash", NOW)
        people.grant(tx, "billing", [1])
        touchpoints.delete(tx, 1, NOW)

    await room.store.write(work)
    assert await room.number("SELECT count(*) FROM secret") == 0
    assert await room.number("SELECT count(*) FROM relay_grant") == 0
    assert (await room.row(entry))["touchpoint_id"] == 1
    with pytest.raises(Refused):
        await room.store.write(lambda tx: touchpoints.delete(tx, 1, NOW))


async def test_secrets_are_kept_as_they_come(room: Room) -> None:
    await room.store.write(lambda tx: touchpoints.put_secret(tx, 1, "password", b"one", NOW))
    await room.store.write(lambda tx: touchpoints.put_secret(tx, 1, "password", b"two", NOW))
    assert await room.store.read(lambda tx: touchpoints.get_secret(tx, 1, "password")) == b"two"
    await room.store.write(lambda tx: touchpoints.forget_secrets(tx, 1))
    assert await room.store.read(lambda tx: touchpoints.get_secret(tx, 1, "password")) is None


async def test_a_template_is_not_active_without_a_text(room: Room) -> None:
    kind = TemplateKind.AUTO_REPLY
    with pytest.raises(Refused, match="no text yet"):
        await room.store.write(lambda tx: touchpoints.set_template(tx, 1, kind, NOW, active=True))
    await room.store.write(lambda tx: touchpoints.set_template(tx, 1, kind, NOW, text="Thanks"))
    await room.store.write(lambda tx: touchpoints.set_template(tx, 1, kind, NOW, active=True))
    found = (await load(room)).touchpoints[1].auto_reply
    assert (found.active, found.text) == (True, "Thanks")
    with pytest.raises(Refused, match="control character"):
        await room.store.write(lambda tx: touchpoints.set_template(tx, 1, kind, NOW, subject="a\r\nBcc: b@example.org"))
    with pytest.raises(Refused, match="64 KiB"):
        await room.store.write(lambda tx: touchpoints.set_template(tx, 1, kind, NOW, text="x" * 70_000))


async def test_unlink_and_unblock_say_when_there_is_nothing(room: Room) -> None:
    with pytest.raises(Refused, match="not linked"):
        await room.store.write(lambda tx: touchpoints.unlink(tx, 1, 1))
    with pytest.raises(Refused, match="not on the blocklist"):
        await room.store.write(lambda tx: touchpoints.unblock(tx, 1, "@pest.example"))
    await room.store.write(lambda tx: (touchpoints.link(tx, 1, 1), touchpoints.block(tx, 1, "pest.example", now=NOW)))
    await room.store.write(lambda tx: (touchpoints.unlink(tx, 1, 1), touchpoints.unblock(tx, 1, "@PEST.example")))
    found = (await load(room)).touchpoints[1]
    assert (found.ring_groups, found.blocklist) == ((), frozenset())


# -- Ring groups, relay users, audit -------------------------------------------------------------------------------


async def test_a_ring_group_is_deleted_only_while_nothing_knows_it(room: Room) -> None:
    await room.take(outcome=an_outcome(a_mail(), ring_groups=(1,)))
    number = await room.store.write(lambda tx: people.create_ring_group(tx, "third", NOW))
    with pytest.raises(Refused, match="already"):
        await room.store.write(lambda tx: people.create_ring_group(tx, " third ", NOW))
    await room.store.write(lambda tx: touchpoints.link(tx, 1, number))
    with pytest.raises(Refused, match="unlink it first"):
        await room.store.write(lambda tx: people.delete_ring_group(tx, number))
    await room.store.write(lambda tx: touchpoints.unlink(tx, 1, number))
    with pytest.raises(Refused, match="mail was assigned"):
        await room.store.write(lambda tx: people.delete_ring_group(tx, 1))
    await room.store.write(lambda tx: people.delete_ring_group(tx, number))
    assert set((await load(room)).ring_groups) == {1, 2}


async def test_relay_users(room: Room) -> None:
    await room.store.write(lambda tx: people.add_relay_user(tx, "billing", "$one", NOW))
    for name, words in (("billing", "already"), ("two words", "space"), ("", "empty"), ("a\x07", "control")):
        with pytest.raises(Refused, match=words):
            await room.store.write(lambda tx, n=name: people.add_relay_user(tx, n, "$x", NOW))  # type: ignore[misc]

    def change(tx: Tx) -> None:
        people.grant(tx, "billing", [1])
        people.grant(tx, "billing", [1])
        people.set_password_hash(tx, "billing", "$two")
        people.set_relay_user(tx, "billing", notify="ops@example.org", signature=True)

    await room.store.write(change)
    found = await load(room)
    assert found.relay_users["billing"].grants == {1}
    assert found.password_hashes["billing"] == "$two"
    await room.store.write(lambda tx: people.revoke(tx, "billing", [1]))
    assert (await load(room)).relay_users["billing"].grants == frozenset()
    await room.store.write(lambda tx: (people.grant(tx, "billing", [1]), people.remove_relay_user(tx, "billing")))
    assert (await load(room)).relay_users == {}
    with pytest.raises(Refused, match="no relay user"):
        await room.store.write(lambda tx: people.grant(tx, "billing", [1]))


def test_normalised_keys_agree_with_the_unique_index() -> None:
    assert normalise("A@BÜCHER.example") == normalise("a@xn--bcher-kva.example")
