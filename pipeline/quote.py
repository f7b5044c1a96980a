"""Finds where a mail stops being its author's own words and starts to quote an earlier mail.

There is no standard for this, only the habits of mail programs in many languages; the tables below hold them. The
answer is a place to put a signature, never a reason to cut anything. Linear in the length of the text.
"""

from __future__ import annotations

import re

from pipeline.simplify import unescaped

_FROM = re.compile(
    r"from|von|de|da|van|från|fra|lähettäjä|od|feladó|от|від|kimden|expéditeur|remitente|mittente|afzender|από"
    r"|gönderen|差出人|发件人|寄件者|寄件人|보낸사람"
)
_SENT = re.compile(
    r"sent|date|gesendet|datum|envoyé|enviado|inviato|verzonden|skickat|sendt|lähetetty|wysłano|odesláno|elküldve"
    r"|отправлено|gönderildi|tarih|data|fecha|дата|päiväys|dato|päivämäärä|送信日時|日時|发送时间|日期|寄件日期"
    r"|보낸날짜|날짜"
)
_WROTE = re.compile(
    r"(?:wrote|writes|schrieb|a écrit|escribió|ha scritto|escreveu|schreef|skrev|kirjoitti|napisał|napisała|napsal"
    r"|napsala|napísal|írta|написал|написала|пише|написав|yazdı|γράψατε|έγραψε|a scris|je napisao|написа|rašė"
    r"|kirjutas|のメール|写道|寫道|작성)\b.{0,80}[::]$",
    re.IGNORECASE,
)
_OPENERS = re.compile(
    r"(?:on|am|le|el|il|em|op|den|pe|w dniu|dne|dňa|în|на|в|στις|dana|\d{1,4}[ ./年-]|[a-z]{2,3}[.,] )",
    re.IGNORECASE,
)
_TITLE = re.compile(
    r"(?:-{2,}|_{2,})\s*(?:original message|original appointment|ursprüngliche nachricht|originalnachricht"
    r"|message d'origine|message original|mensaje original|messaggio originale|mensagem original"
    r"|oorspronkelijk bericht|oprindelig meddelelse|opprinnelig melding|ursprungligt meddelande"
    r"|alkuperäinen viesti|wiadomość oryginalna|oryginalna wiadomość|původní zpráva|eredeti üzenet"
    r"|исходное сообщение|пересылаемое сообщение|orijinal mesaj|forwarded message|weitergeleitete nachricht"
    r"|message transféré|mensaje reenviado|messaggio inoltrato|mensagem encaminhada|doorgestuurd bericht"
    r"|videresendt besked|vidarebefordrat meddelande|przekazana wiadomość|begin forwarded message"
    r"|元のメッセージ|原始邮件|原始郵件|转发邮件)\s*:?\s*(?:-{2,}|_{2,})",
    re.IGNORECASE,
)
_RULE = re.compile(r"[_-]{5,}")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")

_TAG = re.compile(r"<!--|-->|<(/?)([a-zA-Z][a-zA-Z0-9]{0,20})((?:\s[^<>]{0,2000})?)/?>")
_QUOTING = re.compile(
    r"gmail_quote|gmail_attr|moz-cite-prefix|yahoo_quoted|protonmail_quote|tutanota_quote|zimbra|OutlookMessageHeader"
    r"|appendonsend|divRplyFwdMsg|reply-intro|mail-editor-reference-message-container|zwchr|isForwardContent"
    r"|border-top:\s{0,3}solid #(?:E1E1E1|B5C4DF)",
    re.IGNORECASE,
)
_BLOCKS = ("div", "p", "hr", "span", "table", "section")
_HIDDEN = ("style", "script", "head", "title")


def own_text_end(text: str) -> int:
    """Where the author's own words end in plain text: the offset behind the last line above the quote.

    Where a quote stands first and words follow it, the author answers below, and the end of the text is meant.
    """
    lines = _LINE.findall(text)
    start = _first_quoted(lines)
    if not any(line.strip() for line in lines[:start]) and any(_is_own(line) for line in lines[start:]):
        forwarded = start < len(lines) and not lines[start].lstrip().startswith(">") and not _quotes_below(lines, start)
        start = start if forwarded else len(lines)
    while start and not lines[start - 1].strip():
        start -= 1
    return sum(map(len, lines[:start]))


def own_html_end(markup: str) -> int:
    """Where the author's own words end in HTML: the offset of the first quoting tag, or of the end of the body."""
    quote, end = _html_places(markup)
    if quote is None:
        return end
    if not visible_text(markup[:quote]):
        below = markup.lower().rfind("</blockquote>")
        if below > quote and visible_text(markup[below:end]):
            return end
    return quote


def visible_text(markup: str) -> str:
    """The words of a piece of HTML, tags and what is hidden left out, each run of space as one."""
    words: list[str] = []
    at, hidden = 0, ""
    for match in _TAG.finditer(markup):
        if not hidden:
            words.append(markup[at : match.start()])
        hidden = _hidden_after(match, hidden)
        at = match.end()
    if not hidden:
        words.append(markup[at:])
    return " ".join(unescaped(" ".join(words)).split())


def _first_quoted(lines: list[str]) -> int:
    for index, line in enumerate(lines):
        bare = line.strip()
        if not bare:
            continue
        if bare[0] == ">":
            return _with_attribution(lines, index)
        if _TITLE.match(bare) or _is_attribution(lines, index):
            return index
        if _is_header_block(lines, index):
            return index - 1 if index and _RULE.fullmatch(lines[index - 1].strip()) else index
    return len(lines)


def _is_own(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith(">")


def _quotes_below(lines: list[str], start: int) -> bool:
    """Whether a quote with ">" starts at an attribution line."""
    return any(line.lstrip().startswith(">") for line in lines[start : start + 5])


def _with_attribution(lines: list[str], index: int) -> int:
    """The line that says who wrote what is quoted, if there is one right above."""
    above = index - 1
    if above >= 0 and not lines[above].strip():
        above -= 1
    if above < 0 or not lines[above].rstrip().endswith((":", "：")):
        return index
    wrapped = above - 1
    return wrapped if wrapped >= 0 and _is_attribution(lines, wrapped) else above


def _is_attribution(lines: list[str], index: int) -> bool:
    if _OPENERS.match(lines[index].strip()) is None:
        return False
    joined = ""
    for line in lines[index : index + 3]:
        joined = f"{joined} {line.strip()}".strip()[:500]
        if joined.endswith((":", "：")):
            return _WROTE.search(joined) is not None
    return False


def _is_header_block(lines: list[str], index: int) -> bool:
    """From: and Sent: in the words of some language, as Outlook quotes."""
    if not _FROM.fullmatch(_label(lines[index])):
        return False
    return any(_SENT.fullmatch(_label(line)) for line in lines[index + 1 : index + 4])


def _label(line: str) -> str:
    word, colon, rest = line[:60].strip().replace("：", ":").partition(":")
    return word.replace(" ", "").strip("*").lower() if colon and rest.strip() else ""


def _html_places(markup: str) -> tuple[int | None, int]:
    """The first quoting tag, and the end of what is shown."""
    end, hidden = len(markup), ""
    for match in _TAG.finditer(markup):
        was, hidden = hidden, _hidden_after(match, hidden)
        if was or match[2] is None:
            continue
        name = match[2].lower()
        if match[1]:
            end = min(end, match.start()) if name in ("body", "html") else end
        elif _is_quoting(name, match[3]):
            return match.start(), _body_end(markup)
    return None, end


def _is_quoting(name: str, attributes: str) -> bool:
    if name == "hr" and "tabindex" in attributes:  # what Outlook on the web draws above its quote
        return True
    return name == "blockquote" or (name in _BLOCKS and _QUOTING.search(attributes) is not None)


def _body_end(markup: str) -> int:
    lower = markup.lower()
    found = [place for place in (lower.rfind("</body"), lower.rfind("</html")) if place >= 0]
    return min(found, default=len(markup))


def _hidden_after(match: re.Match[str], hidden: str) -> str:
    """What hides the text behind a tag: a comment, or an element that is not shown; "" for nothing."""
    if match[2] is None:
        if match[0] == "<!--":
            return hidden or "<!--"
        return "" if hidden == "<!--" else hidden
    name = match[2].lower()
    if match[1]:
        return "" if hidden == name else hidden
    return hidden or (name if name in _HIDDEN else "")
