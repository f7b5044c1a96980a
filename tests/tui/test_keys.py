"""What a person's own file may say, what is said where it may not, and that the app does as it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.events import Key

from gateway.control import DeactivateTouchpoint, GetStatus
from tests.tui.canned import Canned, served, short, status, touchpoint, until
from tests.tui.screen import terminal
from tui.acts import Act
from tui.catalogue import all_acts
from tui.glyphs import Glyphs
from tui.keys import BadKeys, Taste, check_ids, check_keys, home_of_taste, name_of, read_taste, shown
from tui.main import CannotStart, _acts, _taste, all_ids


def written(tmp_path: Path, text: str) -> Path:
    """A file of one's own."""
    path = tmp_path / "tui.toml"
    path.write_text(text, "utf-8")
    return path


def test_all_that_can_be_set(tmp_path: Path) -> None:
    text = 'theme = "ansi-light"\nglyphs = "ascii"\nmouse = false\n[keys]\n"touchpoint.switch" = "T"\n"ui.mark" = " "\n'
    taste = read_taste(written(tmp_path, text))
    assert taste == Taste(
        theme="ansi-light", glyphs=Glyphs.ASCII, mouse=False, keys={"touchpoint.switch": "T", "ui.mark": "space"}
    )


def test_nothing_need_be_set(tmp_path: Path) -> None:
    assert read_taste(tmp_path / "none" / "tui.toml") == Taste()
    assert read_taste(written(tmp_path, "")) == Taste()
    assert read_taste(written(tmp_path, "x") / "below a file") == Taste()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("theme = ", "tui.toml: Invalid value"),
        ("theme = 3", "theme: must be a text"),
        ('glyphs = "emoji"', "glyphs: must be one of braille, block, ascii"),
        ("glyphs = []", "glyphs: must be a text"),
        ('mouse = "yes"', "mouse: must be true or false"),
        ("keys = 1", 'keys: must be a table such as "touchpoint.activate" = "T"'),
        ('[keys]\ntouchpoint.switch = "T"', "keys: must be a table"),
        ('[keys]\n"touchpoint.switch" = 3', "keys: must be a table"),
        ("colour = 1", "colour: there is no such key; there are: theme, glyphs, mouse, keys"),
        ("\udcff", "tui.toml: "),
    ],
)
def test_what_cannot_be_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "tui.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadKeys) as raised:
        read_taste(path)
    assert said in str(raised.value)
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("touchpoint.swich", "there is no act 'touchpoint.swich'; did you mean touchpoint.switch?"),
        ("ui.bak", "did you mean ui.back?"),
        ("something else", "see the table of keys: press ?"),
    ],
)
def test_an_unknown_act_names_the_nearest(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(BadKeys) as raised:
        check_ids(tmp_path / "tui.toml", Taste(keys={name: "T"}), ["touchpoint.switch", "ui.back", "ui.quit"])
    assert said in str(raised.value)


def test_every_act_can_have_another_key(tmp_path: Path) -> None:
    check_ids(tmp_path, Taste(keys={act.id: "T" for _, act in all_acts()}), all_ids())


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"touchpoint.switch": "x"}, "touchpoint.switch cannot have the key 'x': on the screen Touchpoints it is the "
                                     "key of touchpoint.delete (Delete); give that one another key too"),
        ({"touchpoint.switch": "p"}, "it is the key of ui.pause (Pause)"),
        ({"ui.pause": "l"}, "ui.pause cannot have the key 'l': on the screen "),
        ({"touchpoint.switch": "f8 ?"}, "'?': on the screen Touchpoints it is the key of ui.help"),
        ({"touchpoint.switch": "B", "touchpoint.edit": "B"}, "it is the key of "),
        ({"ui.quit": "j"}, "ui.quit cannot have the key 'j': it moves or leaves"),
        ({"ui.quit": "ctrl+c"}, "cannot have the key '^c'"),
    ],
)  # fmt: skip
def test_a_key_stands_for_one_act_of_a_screen(tmp_path: Path, keys: dict[str, str], said: str) -> None:
    with pytest.raises(BadKeys) as raised:
        check_keys(tmp_path / "tui.toml", Taste(keys=keys), *_acts())
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"touchpoint.switch": "B", "ui.pause": "f9"},
        {"touchpoint.switch": "e", "touchpoint.edit": "t"},
        {"ui.pause": "", "touchpoint.switch": "p"},
        {"touchpoint.switch": "t", "ui.next": "n"},
    ],
    ids=["nothing", "free keys", "swapped", "given up and taken", "as it was"],
)  # fmt: skip
def test_keys_may_change_places(tmp_path: Path, keys: dict[str, str]) -> None:
    check_keys(tmp_path / "tui.toml", Taste(keys=keys), *_acts())


def test_a_key_that_a_screen_takes_from_everywhere_may_go_to_another_of_its_acts(tmp_path: Path) -> None:
    new, edit, after = (
        Act(id=name, key=key, words=name, run=lambda view, rows: None)
        for name, key in (("new", "n"), ("edit", "e"), ("next", "n"))
    )
    swapped = Taste(keys={"new": "e", "edit": "n"})
    check_keys(tmp_path, swapped, [("First", (new, edit))], (after,))
    with pytest.raises(BadKeys, match="on the screen Second it is the key of next"):
        check_keys(tmp_path, swapped, [("First", (new, edit)), ("Second", (edit,))], (after,))


def test_a_bad_file_keeps_the_terminal_ui_from_starting_and_says_why() -> None:
    path = home_of_taste()
    path.parent.mkdir(parents=True)
    path.write_text('[keys]\n"ui.bak" = "b"\n', "utf-8")
    with pytest.raises(CannotStart, match=r"tui\.toml: keys: there is no act 'ui.bak'; did you mean ui.back"):
        _taste("", "", None)
    path.write_text('[keys]\n"touchpoint.switch" = "x"\n', "utf-8")
    with pytest.raises(CannotStart, match=r"it is the key of touchpoint\.delete"):
        _taste("", "", None)
    path.write_text('theme = "mauve"\n', "utf-8")
    with pytest.raises(CannotStart, match="there is no theme 'mauve'; there are: ansi-dark"):
        _taste("", "", None)
    assert _taste("ascii", "ansi-light", True) == Taste(theme="ansi-light", glyphs=Glyphs.ASCII, mouse=True), (
        "what is said at the start goes before the file"
    )


@pytest.mark.parametrize(
    ("key", "character", "name"),
    [
        ("a", "a", "a"), ("A", "A", "A"), ("upper_a", "A", "A"), ("question_mark", "?", "?"), ("slash", "/", "/"),
        ("space", " ", "space"), ("enter", "\r", "enter"), ("ctrl+s", "\x13", "ctrl+s"), ("f4", None, "f4"),
        ("udiaeresis", "ü", "ü"), ("escape", "\x1b", "escape"),
    ],
)  # fmt: skip
def test_keys_are_called_by_their_character(key: str, character: str | None, name: str) -> None:
    assert name_of(Key(key, character)) == name


@pytest.mark.parametrize(
    ("key", "words"),
    [("ctrl+s", "^s"), ("f4", "F4"), ("f10", "F10"), ("f", "f"), ("escape", "Esc"), ("pagedown", "PgDn"), ("A", "A")],
)
def test_keys_as_people_read_them(key: str, words: str) -> None:
    assert shown(key) == words


# -- In the app ------------------------------------------------------------------------------------------------------


async def test_another_key_does_it_and_the_old_one_nothing(tmp_path: Path) -> None:
    canned = Canned({GetStatus: status((touchpoint(),)), DeactivateTouchpoint: touchpoint(active=False)})
    taste = Taste(keys={"touchpoint.switch": "B", "ui.help": "f8 H"})
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="touchpoints", taste=taste) as screen:
        await screen.quiet()
        await screen.press("t", "?")
        assert not canned.asked(DeactivateTouchpoint)
        assert len(screen.ui.screen_stack) == 1, "the old key of the help does nothing"
        await screen.press("a")
        await screen.shows(" B ")
        await screen.press("B")
        await until(lambda: canned.asked(DeactivateTouchpoint), "it is done")
        for key in ("f8", "H"):
            await screen.press(key)
            await screen.shows("type to search")
            await screen.press("escape")
            await screen.hides("type to search")


async def test_a_key_can_be_taken_away(tmp_path: Path) -> None:
    canned = Canned({GetStatus: status((touchpoint(),))})
    taste = Taste(keys={"touchpoint.switch": "", "ui.quit": ""})
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="touchpoints", taste=taste) as screen:
        await screen.quiet()
        await screen.press("t", "Q", "ctrl+q")
        assert not canned.asked(DeactivateTouchpoint)
        assert screen.ui.is_running
        await screen.press("ctrl+c")
        await screen.shows("^c again leaves")


async def test_what_is_shown_is_what_is_set(tmp_path: Path) -> None:
    canned = Canned({GetStatus: status((touchpoint(),))})
    taste = Taste(keys={"ui.filter": "ctrl+f"})
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="touchpoints", taste=taste) as screen:
        await screen.quiet()
        assert " ^f filter " in screen.text().splitlines()[-1]
        await screen.press("ctrl+f")
        await screen.type("sup")
        await screen.shows("filter: sup")
