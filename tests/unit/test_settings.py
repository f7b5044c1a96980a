"""Settings: defaults, merging, and every fault at once with its line."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gateway import plugins, presets, settings
from gateway.settings import BadSettings, Settings
from gateway.toml_lines import key_lines
from pipeline.touchpoint import Security


def write(folder: Path, text: str, name: str = "postroom.toml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def faults(folder: Path, text: str) -> list[str]:
    path = write(folder, text)
    with pytest.raises(BadSettings) as caught:
        settings.load(path)
    return [str(fault).removeprefix(f"{path}:") for fault in caught.value.faults]


def test_the_default_file_says_what_holds_without_it() -> None:
    path = Path(str(files("conf").joinpath("postroom.toml")))
    assert settings.load(path) == settings.load(None)
    assert settings.load(path).files == (path,)
    assert settings.load(None).files == ()


def test_the_default_file_shows_every_key() -> None:
    shown = tomllib.loads(files("conf").joinpath("postroom.toml").read_text("utf-8"))
    for name in ("daemon", "relay", "lines", "intake", "roles", "notices"):
        model = type(getattr(settings.load(None), name))
        keys = {field.alias or key for key, field in model.model_fields.items()}
        assert set(shown[name]) == keys - {"network"}, name
    assert set(shown["retry"]) == {"first", "longest", "give_up"}


def test_defaults_listen_on_loopback_only() -> None:
    made = settings.load(None)
    assert [listener.loopback for listener in made.relay.listeners] == [True]
    assert made.lines.inbound == ("ingest", "blocklist", "auto_reply", "ring_group")
    assert [name for name, _ in made.line(made.lines.outbound)] == ["ingest", "signature"]


def test_all_faults_at_once_with_their_lines(tmp_path: Path) -> None:
    text = """[daemon]
hostnme = "x"
state_dir = "here"

[relay]
connections = true
[[relay.listener]]
name = "a"
port = 99999
tsl = true
[[relay.listener]]
name = "b"
host = "0.0.0.0"
port = 587
[[relay.network]]
cidr = "10.0.0.1/8"
user = "printers"

[lines]
inbound = ["blocklist"]
outbound = [
  "ingest", "signture"]

[retry]
frist = 3
[zzz]
[stages.sinature]
"""
    found = faults(tmp_path, text)
    assert [fault.partition(": ")[0] for fault in found] == [
        "2", "3", "6", "9", "10", "11", "16", "20", "21", "25", "26", "27",
    ]  # fmt: skip
    assert found[0] == "2: daemon.hostnme: unknown key; the nearest is hostname"
    assert found[2] == "6: relay.connections: Input should be a valid integer (got True)"
    assert found[4].startswith("10: relay.listener.0.tsl: unknown key")
    assert "loopback" in found[5]
    assert "ingest must come first" in found[7]
    assert "there is no stage signture; the nearest is signature" in found[8]
    assert found[9] == "25: retry.frist: unknown key; the nearest is first"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('inbound = ["ingest", "auto_reply", "blocklist"]', "blocklist must come before auto_reply"),
        ('inbound = ["ingest", "auto_reply"]', "blocklist must come before auto_reply"),
        ("inbound = []", "ingest must come first"),
        ('inbound = ["ingest", "ingest"]', "twice"),
    ],
)
def test_lines_have_an_order(tmp_path: Path, line: str, words: str) -> None:
    assert words in faults(tmp_path, f"[lines]\n{line}\n")[0]


@pytest.mark.parametrize(
    ("listener", "words"),
    [
        ('mode = "submissions"\nhost = "192.0.2.1"', "needs cert and key"),
        ('cert = "/c.pem"', "belong together"),
        ('mode = "plain"', "add [[relay.network]]"),
        ('mode = "plain"\ncert = "/c"\nkey = "/k"', "no TLS"),
        ('host = "mail.example.org"', "must be an IP address"),
        ('mode = "smtp"', "Input should be 'submission', 'submissions' or 'plain'"),
    ],
)
def test_listeners(tmp_path: Path, listener: str, words: str) -> None:
    assert words in faults(tmp_path, f'[[relay.listener]]\nname = "a"\nport = 1\n{listener}\n')[0]


def test_stage_settings_are_the_fields_of_the_stage(tmp_path: Path) -> None:
    made = settings.load(write(tmp_path, "[stages.auto_reply]\nquiet_days = 3\n"))
    assert made.stages["auto_reply"].quiet_days == 3  # type: ignore[attr-defined]
    found = faults(tmp_path, '[stages.auto_reply]\nquiet_day = 3\nquiet_days = "x"\n')
    assert found[0] == "2: stages.auto_reply.quiet_day: unknown key; the nearest is quiet_days"
    assert found[1].startswith("3: stages.auto_reply.quiet_days: Input should be a valid")


def test_every_built_in_stage_forbids_unknown_keys() -> None:
    for name in plugins.stage_names():
        kind = plugins.stage_class(name)
        assert kind is not None
        assert vars(kind)["__pydantic_config__"]["extra"] == "forbid", name


def test_conf_d_in_name_order_later_wins(tmp_path: Path) -> None:
    path = write(tmp_path, '[relay]\nrecipients = 10\n[daemon]\nhostname = "a.example"\n')
    write(tmp_path, "[relay]\nrecipients = 20\nconnections = 7\n", "conf.d/10.toml")
    extra = write(tmp_path, "[relay]\nrecipients = 30\n", "conf.d/20.toml")
    made = settings.load(path)
    assert (made.relay.recipients, made.relay.connections, made.hostname) == (30, 7, "a.example")
    extra.write_text("[relay]\nrecipients = 0\n")
    with pytest.raises(BadSettings) as caught:
        settings.load(path)
    assert str(caught.value).startswith(f"{extra}:2: relay.recipients: ")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"[daemon]\nhostname = \n", ":2: is not TOML"),
        (b"a = [[[", "is not TOML"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"a = " + b"[" * 5000, "is not TOML"),
    ],
)
def test_files_that_cannot_be_read_are_one_fault(tmp_path: Path, raw: bytes, words: str) -> None:
    path = tmp_path / "postroom.toml"
    path.write_bytes(raw)
    with pytest.raises(BadSettings) as caught:
        settings.load(path)
    assert words in str(caught.value)


def test_a_missing_file_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="cannot be read"):
        settings.load(tmp_path / "no.toml")


def test_settings_are_frozen() -> None:
    made: Settings = settings.load(None)
    with pytest.raises(Exception, match="frozen"):
        made.relay.recipients = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        made.stages["x"] = made.stages["ingest"]  # type: ignore[index]


def test_key_lines() -> None:
    text = '''# comment with = and [x]
a = 1
"quoted key" = 2
b.c = """
not.a.key = 3
[not.a.table]
"""
[t] # trailing
d = [1,
  2, # two
  { e = "x, y", f = [3] }]
[[t.u]]
g = 'lit = # eral'
[[t.u]]
h = 1979-05-27T07:32:00Z
[t.u.v]
i = """a""""
'''
    lines = key_lines(text)
    assert lines[("a",)] == 2
    assert lines[("quoted key",)] == 3
    assert lines[("b", "c")] == 4
    assert lines[("t",)] == 8
    assert lines[("t", "d", 2, "f")] == 11
    assert lines[("t", "u", 0, "g")] == 13
    assert lines[("t", "u", 1, "h")] == 15
    assert lines[("t", "u", 1, "v", "i")] == 17
    assert ("not",) not in lines


def dump(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {dump(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",\n ".join(map(dump, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


KEYS = st.text("abc-_1", min_size=1, max_size=3)
VALUES = st.recursive(
    st.integers(0, 9) | st.booleans() | st.text("a ,=#[]{}.", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_key_lines_finds_every_key_of_any_file(content: dict[str, Any]) -> None:
    text = "".join(f"{key} = {dump(value)}\n" for key, value in content.items())
    assert tomllib.loads(text) == content
    lines = key_lines(text)

    def check(value: Any, path: tuple[Any, ...]) -> None:
        assert path in lines or not path
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, each in parts:
            check(each, (*path, key))

    check(content, ())


def test_presets() -> None:
    found = presets.presets()
    assert set(found) == {"custom", "yahoo", "aol", "icloud", "gmail-imap", "microsoft-imap"}
    for name, preset in found.items():
        connection = preset.connection("u")
        assert connection.preset == name
        assert all(server.security is not Security.NONE for server in (preset.imap, preset.smtp))
        assert preset.connections >= 1


def test_notices_have_subject_and_text() -> None:
    raw = tomllib.loads(files("conf").joinpath("notices.toml").read_text("utf-8"))
    assert {"connection_lost", "final_failure"} <= set(raw)
    assert all(set(each) == {"subject", "text"} and "\n" not in each["subject"] for each in raw.values())
