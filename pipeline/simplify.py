"""Turns HTML into text that people can read; for showing only, nothing is ever sent from it.

One pass whose time grows with the length alone, whatever the markup is; never raises. Tags go, block elements become
line breaks, entities are decoded, and what is never shown (comments, script, style, head) is left out. A link says by
its host where it leads, unless its text is that very place: what a link says is its author's word only.
"""

from __future__ import annotations

import html
import re

# A tag with its quoted values; at a "<" outside of quotes both give up, so that no byte is looked at often.
_TAG = re.compile(r"""<(/?)([a-zA-Z][a-zA-Z0-9]{0,20}+)((?:[^<>"']++|"[^"]*+"|'[^']*+')*+)>""")
_LOOSE_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,20}+)([^<>]*+)>")
_SPACE = re.compile(r"[ \t\n\f\r]++")
# Bounded: the library's own function raises on a number of thousands of digits.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}+|#[xX][0-9a-fA-F]{1,6}+|[a-zA-Z][a-zA-Z0-9]{1,31}+);?")
# Each starts where the one before ends, so that a name within a quoted value is none.
_ATTRIBUTE = re.compile(r"""(?<![^\s"'/])([^\s=>"'/]++)\s{0,9}=\s{0,9}(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++))""")
_MOST_ATTRIBUTES = 4096
_WEB = re.compile(r"(?:https?|ftp):[/\\]{2}(?:[^/\\?#@]*+@)*+([^/\\?#:@\x00-\x20\x7f]{1,253})", re.IGNORECASE)
_MAILTO = re.compile(r"mailto:([^?\x00-\x20\x7f]{1,254})", re.IGNORECASE)
# What browsers take out of an address: line breaks and tabs anywhere, controls and spaces in front.
_NOISE = re.compile(r"[\t\n\r]++|\A[\x00-\x20]++")

_NONE, _WORD, _LINE, _PARAGRAPH = range(4)
_GAPS = ("", " ", "\n", "\n\n")
_LINES = frozenset({
    "address", "article", "aside", "center", "dd", "details", "div", "dl", "dt", "fieldset", "figcaption", "figure",
    "footer", "form", "header", "li", "main", "nav", "option", "section", "summary", "tbody", "tfoot", "thead", "tr",
})  # fmt: skip
_PARAGRAPHS = frozenset({"blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "ol", "p", "pre", "table", "ul"})
_HIDDEN = {
    name: re.compile(f"</{name}", re.IGNORECASE | re.ASCII) for name in ("script", "style", "template", "title", "xml")
}
_HEAD_END = re.compile(r"</head|<body", re.IGNORECASE | re.ASCII)
# Soft hyphens and zero-width fillers draw nothing; newsletters put hundreds of them behind their first line.
_FILLERS = str.maketrans({"\u00a0": " ", **dict.fromkeys("\u00ad\u034f\u200b\u2060\ufeff", None)})


def simplified(markup: str, most: int) -> str:
    """The text of an HTML document; what goes on behind ``most`` characters is left out, some more may come."""
    page = _Page()
    at = 0
    while at < len(markup) and page.size <= most:
        start = markup.find("<", at)
        page.say(markup[at : start if start >= 0 else len(markup)])
        at = _behind(markup, start, page) if start >= 0 else len(markup)
    page.end_link()
    return "".join(page.out)


def _behind(markup: str, start: int, page: _Page) -> int:
    """Take what stands at a "<"; where the text goes on."""
    if markup.startswith(("<!", "<?"), start):
        closing = "-->" if markup.startswith("<!--", start) else ">"
        end = markup.find(closing, start + 2)
        return len(markup) if end < 0 else end + len(closing)
    tag = _TAG.match(markup, start) or _LOOSE_TAG.match(markup, start)
    if tag is None:
        page.say("<")
        return start + 1
    name = tag[2].lower()
    if tag[1]:
        page.close(name)
        return tag.end()
    if name in _HIDDEN:
        end_tag = _HIDDEN[name].search(markup, tag.end())
        return len(markup) if end_tag is None else end_tag.start()
    if name == "head" and not page.headed:
        page.headed = True
        body = _HEAD_END.search(markup, tag.end())
        return tag.end() if body is None else body.start()
    page.open(name, tag[3])
    return tag.end()


class _Page:
    """The text so far, and the space that comes before the next word."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.size = 0
        self.headed = False
        self._gap = _NONE
        self._lead = ""
        self._pre = 0
        self._link = ""
        self._link_at = 0

    def say(self, text: str) -> None:
        """Text between two tags."""
        text = unescaped(text)
        if not text.isascii():
            text = text.translate(_FILLERS).replace("\u200c ", " ")
        if self._pre:
            if text:
                self._put(text.replace("\r\n", "\n").replace("\r", "\n"))
            return
        text = _SPACE.sub(" ", text)
        if text[:1] == " ":
            self._gap = max(self._gap, _WORD)
        if words := text.strip(" "):
            self._put(words)
            self._gap = _WORD if text[-1] == " " else _NONE

    def open(self, name: str, attributes: str) -> None:
        """A start tag."""
        self._break(name)
        if name == "a":
            self.end_link()
            self._link, self._link_at = _target(attributes), len(self.out)
        elif name == "li":
            self._lead = "- "
        elif name == "pre":
            self._pre += 1

    def close(self, name: str) -> None:
        """An end tag."""
        self._break(name)
        if name == "a":
            self.end_link()
        elif name == "pre":
            self._pre = max(0, self._pre - 1)

    def end_link(self) -> None:
        """Say where a link leads, unless its text is that place."""
        if self._link and not _names("".join(self.out[self._link_at :]).strip(), self._link):
            after, self._gap = self._gap, _WORD
            self._put(f"[{self._link}]")
            self._gap = after
        self._link = ""

    def _break(self, name: str) -> None:
        if name == "br":
            self._gap = _LINE if self._gap < _LINE else _PARAGRAPH
        elif name in _LINES:
            self._gap = max(self._gap, _LINE)
        elif name in _PARAGRAPHS:
            self._gap = _PARAGRAPH
        elif name in ("td", "th"):
            self._gap = max(self._gap, _WORD)

    def _put(self, words: str) -> None:
        if self.out:
            self.out.append(_GAPS[self._gap])
        self.out += (self._lead, words)
        self.size += len(self._lead) + len(words)
        self._gap, self._lead = _NONE, ""


def unescaped(text: str) -> str:
    """Text with its entities decoded; never raises, no surrogates."""
    return _ENTITY.sub(lambda found: html.unescape(found[0]), text) if "&" in text else text


def _target(attributes: str) -> str:
    """Where a link leads: a host, or an address; "" where that is nowhere else."""
    for found in _ATTRIBUTE.finditer(attributes[:_MOST_ATTRIBUTES]):
        if found[1].lower() == "href":
            address = _NOISE.sub("", unescaped(found[2] or found[3] or found[4] or ""))
            match = _WEB.match(address) or _MAILTO.match(address)
            return match[1] if match else ""
    return ""


def _names(text: str, target: str) -> bool:
    """Whether the text of a link is nothing but the place that it leads to."""
    if any(char.isspace() for char in text):
        return False
    shown = _WEB.match(text if "://" in text else f"https://{text}")
    return target.lower() in (text.lower(), shown[1].lower() if shown else "")
