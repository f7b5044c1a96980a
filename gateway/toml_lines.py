"""Finds the line of each key in a TOML file, which tomllib does not tell.

It is given text that tomllib has parsed, so it need not check anything: it walks headers, keys and values just well
enough to know where each begins. A key is a tuple such as ``("relay", "listener", 0, "port")``.
"""

from __future__ import annotations

import re
import tomllib

Path = tuple[str | int, ...]

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY_PART = re.compile(r"""[ \t]*("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*(\.?)""")
# The four kinds of string, longest marks first, then any other value up to what ends it.
_SCALAR = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[^,\]}#\n]+', re.DOTALL
)


def key_lines(text: str) -> dict[Path, int]:
    """The line, counted from 1, on which each key, table and array element of a valid TOML text begins."""
    return _Walk(text.replace("\r\n", "\n")).run()


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self.arrays: dict[Path, int] = {}
        self._counted = (0, 1)

    def run(self) -> dict[Path, int]:
        table: Path = ()
        self._skip()
        while self.at < len(self.text):
            table = self._header() if self.text[self.at] == "[" else self._pair(table, table)
            self._skip()
        return self.lines

    def _header(self) -> Path:
        double = self.text.startswith("[[", self.at)
        line = self._line()
        self.at += 2 if double else 1
        path = self._resolve(self._key())
        self.at = self.text.index("]", self.at) + (2 if double else 1)
        if double:
            number = self.arrays[path] = self.arrays.get(path, -1) + 1
            self.lines.setdefault(path, line)
            path = (*path, number)
        self.lines[path] = line
        return path

    def _resolve(self, key: Path) -> Path:
        """The path behind a header's key: a name that stands for an array of tables means its last element."""
        path: Path = ()
        for number, part in enumerate(key):
            path = (*path, part)
            if path in self.arrays and number < len(key) - 1:
                path = (*path, self.arrays[path])
        return path

    def _pair(self, table: Path, result: Path) -> Path:
        line = self._line()
        path = table
        for part in self._key():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self.at = self.text.index("=", self.at) + 1
        self._value(path)
        return result

    def _key(self) -> Path:
        parts: list[str] = []
        while match := _KEY_PART.match(self.text, self.at):
            self.at = match.end()
            parts.append(_unquoted(match[1]))
            if not match[2]:
                break
        return tuple(parts)

    def _value(self, path: Path) -> None:
        self._skip()
        match self.text[self.at]:
            case "[":
                self._several("]", path)
            case "{":
                self._several("}", path)
            case _:
                found = _SCALAR.match(self.text, self.at)
                self.at = found.end() if found else self.at + 1

    def _several(self, end: str, path: Path) -> None:
        self.at += 1
        number = 0
        self._skip()
        while self.text[self.at] != end:
            if end == "}":
                self._pair(path, path)
            else:
                self.lines[(*path, number)] = self._line()
                self._value((*path, number))
            number += 1
            self._skip()
            if self.text[self.at] == ",":
                self.at += 1
                self._skip()
        self.at += 1

    def _skip(self) -> None:
        if match := _SPACE.match(self.text, self.at):
            self.at = match.end()

    def _line(self) -> int:
        at, line = self._counted
        line += self.text.count("\n", at, self.at)
        self._counted = (self.at, line)
        return line


def _unquoted(part: str) -> str:
    return part if part[0] not in "\"'" else str(tomllib.loads(f"key = {part}")["key"])
