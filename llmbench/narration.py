"""A script as pieces that are short enough for one request of a voice: pure.

Sentences end at their marks, Japanese and English in one text. No library was found that does both in a mixed
text: pysbd and its kin are told one language for all of it, and bunkai knows no English abbreviation. So the
rules are here; where they are in doubt they do not split, because a longer piece is never wrong.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from llmbench.brackets import IS_WIDE, WIDE, is_inside, quotations
from llmbench.errors import ParamError
from llmbench.graphemes import boundaries, is_within_word

_CLOSERS: Final = "」』）)\\]］】》〉\"'”’"
#: A run of marks that can end a sentence, with the brackets and quotes that close it.
_END: Final = re.compile(rf"[。！？!?．.…‥｡]+[{_CLOSERS}]*")
#: Marks that end a sentence whatever follows; the others need a blank after them, or a text without blanks.
_FULL: Final = re.compile(r"[。！？．｡]")
_HIRAGANA: Final = re.compile("[ぁ-ゟ、，]")
#: A particle that no sentence begins with where no hiragana follows it: a name with a full stop goes on
#: ("モーニング娘。の新曲"). Before hiragana nobody can tell ("はい", "のち"), and the sentence ends.
_PARTICLE: Final = re.compile("[のとはがをに][一-鿿々ァ-ヺA-Za-zＡ-Ｚａ-ｚ]")
_LATIN: Final = re.compile("[A-Za-zＡ-Ｚａ-ｚ]")
#: Words before a full stop that do not end a sentence, in lower case.
_ABBREVIATIONS: Final = frozenset(
    {
        *("mr", "mrs", "ms", "mx", "dr", "prof", "st", "sr", "jr", "gen", "col", "capt", "lt", "sgt", "rev"),
        *("hon", "pres", "gov", "sen", "rep", "vs", "etc", "inc", "ltd", "co", "corp", "dept", "est", "fig"),
        *("vol", "ed", "eds", "approx", "ca", "cf", "al", "ave", "blvd", "rd", "mt", "ft", "jan", "feb"),
        *("apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"),
        *("ph.d", "i.e", "e.g", "a.m", "p.m", "u.s", "u.k", "u.n"),
    }
)
#: The same before a number alone.
_BEFORE_NUMBER: Final = frozenset(
    {
        *("no", "nos", "p", "pp", "sect", "sec", "ch", "chap", "art", "par", "eq", "eqs", "figs", "vols"),
        *("rs", "ver", "v", "pt", "pts", "op", "ex", "tab", "app", "l", "ll", "n", "nn", "q"),
    }
)
_WORD_BEFORE: Final = re.compile(r"[A-Za-z](?:[A-Za-z.]*[A-Za-z])?\Z")
#: Characters before and after a mark that are looked at: a line may be a whole book.
_WINDOW: Final = 24
_LETTERS: Final = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]")
#: Where a clause ends: after a full-width mark, or an ASCII one that a blank or full-width text follows.
_CLAUSE: Final = re.compile(
    rf"(?<=[、､])|(?<=[，；：])(?![0-9０-９])|(?<=[,;:])(?=[\s{WIDE}])|(?<=[—–])(?![—–])|(?<=\n)"
)
_CLAUSE_OR_END: Final = re.compile(rf"{_CLAUSE.pattern}|(?<=[。！？｡])(?![。！？!?{_CLOSERS}])")
#: A no-break space is no place for a cut.
_BLANK: Final = re.compile(r"(?<=\s)(?<![\u00a0\u202f])(?=\S)")
_SPEAKER: Final = re.compile(r"\s*[^\s:：][^:：]{0,39}[:：]")
#: What does not begin a piece: small kana, the long mark, and marks that close.
_NO_START: Final = frozenset(
    "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮー々、。，．・：；！？!?,.;:…‥」』）)]］】》〉”’"
)
_LOOK_BACK: Final = 8
_PAUSES: Final = frozenset(" \u3000\n、，,;；:：。！？!?")


def split_text(text: str, limit: int, *, by_sentence: bool = False, is_dialogue: bool = False) -> list[str]:
    """Cut a text into pieces of at most `limit` characters, in order, without blanks at their ends.

    It is cut at the ends of sentences and lines, never inside a quotation that fits into one piece; a
    sentence that is too long at its clauses, then at blanks, then between characters as a reader sees them.
    Numbers and Latin words are cut only where one alone is over the limit. Every piece has a letter or a
    digit: a voice has nothing to say of the rest. Joined again the pieces are the text up to white space at
    the joints, and up to marks that no piece beside them has room for. A piece is longer than the limit only
    where one such character is. A dialogue ("Joe: ...") is cut between the turns of its speakers alone.

    Args:
        text: the script.
        limit: the most characters of a piece, as `len` counts them.
        by_sentence: one sentence a piece, instead of as many as fit.
        is_dialogue: whether each line begins with the name of its speaker.

    Raises:
        ParamError: the limit is below 1, or a turn of a dialogue is over it.
    """
    if limit < 1:
        raise ParamError(f"a piece has at least 1 character: {limit}")
    if is_dialogue:
        units = list(_turns(text))
        _check_turns(units, limit)
    else:
        units = list(_sentences(text, limit))
    units = _spoken(units, limit)
    if by_sentence:
        pieces = [piece for unit in units for piece in _packed([unit], limit)]
    else:
        pieces = _packed(units, limit)
    pieces = _spoken(pieces, limit, may_cut=not is_dialogue)
    return [piece.strip() for piece in pieces if _has_speech(piece)]


def inner_stops(sentence: str) -> frozenset[int]:
    """Where the full stops of a sentence stand that end none: of abbreviations, initials and numbers."""
    return frozenset(
        found.start()
        for found in _END.finditer(sentence)
        if found.group().startswith(".")
        and not found.group().startswith("..")
        and not _is_end(sentence, 0, found)
    )


# ---- units


def _turns(text: str) -> Iterator[str]:
    """The turns of a dialogue: a line that names its speaker, and those after it that name none."""
    turn = ""
    for line in text.splitlines(keepends=True):
        if turn.strip() and _SPEAKER.match(line):
            yield turn
            turn = ""
        turn += line
    yield turn


def _check_turns(turns: Iterable[str], limit: int) -> None:
    for turn in turns:
        if len(turn.strip()) > limit:
            message = f"a turn of the dialogue has {len(turn.strip())} characters and the limit is {limit}: "
            raise ParamError(
                f"{message}{' '.join(turn.split())[:40]!r}; break it into several lines that name the speaker"
            )


def _sentences(text: str, limit: int) -> Iterator[str]:
    """The sentences of a text, each with the white space after it; a line's end is a sentence's."""
    for line in text.splitlines(keepends=True):
        start = 0
        quoted = quotations(line, limit)
        for found in _END.finditer(line):
            end = found.end()
            if is_inside(end, quoted) or not _is_end(line, start, found):
                continue
            while end < len(line) and line[end].isspace():
                end += 1
            yield line[start:end]
            start = end
        if start < len(line):
            yield line[start:]


def _spoken(units: Iterable[str], limit: int, *, may_cut: bool = False) -> list[str]:
    """The units; one without a letter or a digit joins a neighbour: a voice has nothing to say there.

    A neighbour that has no room for it gives it its end or its beginning, where it may be cut.
    """
    made: list[str] = []
    was_heard = False  # whether the last of them has speech
    for unit in units:
        is_heard = _has_speech(unit)
        if not made or (was_heard and is_heard):
            made.append(unit)
        elif len((made[-1] + unit).strip()) <= limit:
            made[-1] += unit
            is_heard |= was_heard
        elif may_cut and was_heard != is_heard and (cut := _shared(made[-1], unit, limit)):
            both = made[-1] + unit
            made[-1:] = [both[:cut], both[cut:]]
            is_heard = True
        else:
            made.append(unit)
        was_heard = is_heard
    return made


def _shared(before: str, after: str, limit: int) -> int:
    """Where to cut two units, one of them without speech, into two that have it and fit; 0 for nowhere."""
    both = before + after
    may_cut = boundaries(both)
    if _has_speech(before):
        places = range(len(before.rstrip()) - 1, max(0, len(both.rstrip()) - limit) - 1, -1)
    else:
        places = range(min(len(both) - 1, len(both) - len(both.lstrip()) + limit), len(before), -1)
    for place in sorted(
        places, key=lambda place: both[place - 1] not in _PAUSES
    ):  # at a pause if there is one
        halves = both[:place], both[place:]
        is_torn = not may_cut[place] or is_within_word(both, place) or both[place] in _NO_START
        if not is_torn and all(_has_speech(half) and len(half.strip()) <= limit for half in halves):
            return place
    return 0


def _has_speech(text: str) -> bool:
    return any(map(str.isalnum, text))


# ---- where a sentence ends


def _is_end(line: str, start: int, found: re.Match[str]) -> bool:
    """Whether marks in a line end the sentence that begins at `start`."""
    marks, after = found.group(), line[found.end() : found.end() + _WINDOW]
    following = after.lstrip()[:1]
    if not following:
        return True
    before = line[max(start, found.start() - _WINDOW) : found.start()]
    if _goes_on(before, marks, after):
        return False
    if _FULL.search(marks):
        return _ends_in_japanese(marks, after)
    has_gap = after[0].isspace() or IS_WIDE.match(after) is not None
    if not has_gap or following.islower():
        return False
    if marks[0] in "…‥" or marks.startswith(".."):
        return bool({"!", "?"} & set(marks))
    return marks[0] != "." or not _is_within_word(before, following)


def _ends_in_japanese(marks: str, after: str) -> bool:
    """Of full-width marks: not where a quotation goes on ("「…。」と言った")."""
    has_closed = marks[-1] not in "。！？!?．.…‥｡"
    return not (has_closed and _HIRAGANA.match(after))


def _goes_on(before: str, marks: str, after: str) -> bool:
    """Whether a mark belongs to a number or a name that goes on right after it.

    "Ver.２", "３．１４", "10．りんご", "3.です", "Yahoo!ニュース", "モーニング娘。の新曲".
    """
    last, following = before[-1:], after[0]
    if marks in (".", "．"):
        if last.isdigit():
            return not following.isspace() or before.strip().isdigit()
        return following.isdigit() and not IS_WIDE.match(last)
    if marks in ("!", "！"):
        is_letter = following.isalnum() and IS_WIDE.match(following) is not None
        return is_letter and _LATIN.match(last) is not None
    return marks in ("。", "｡") and _PARTICLE.match(after) is not None


def _is_within_word(before: str, following: str) -> bool:
    """Whether a full stop belongs to an abbreviation, an initial, or a number that counts paragraphs."""
    if before.strip().isdigit():
        return True
    found = _WORD_BEFORE.search(before)
    if found is None:
        return False
    word = found.group()
    if word.lower() in _BEFORE_NUMBER and following.isdigit():
        return True
    is_initial = len(word) == 1 and word.isupper() and word != "I"
    return is_initial or word.lower() in _ABBREVIATIONS or _LETTERS.fullmatch(word) is not None


# ---- pieces of a size


def _packed(units: Iterable[str], limit: int, level: int = 0) -> list[str]:
    """As many units in each piece as fit; one that does not is cut by the next finer of _CUTS."""
    pieces: list[str] = []
    current = ""
    for unit in units:
        if len((current + unit).strip()) <= limit:
            current += unit
            continue
        pieces.append(current)
        current = unit
        if len(unit.strip()) > limit and level < len(_CUTS):
            *whole, current = _packed(_CUTS[level](unit, limit), limit, level + 1)
            pieces += whole
    return [*pieces, current]


def _at_clauses_outside(text: str, limit: int) -> list[str]:
    """Cut at the ends of clauses, none of them within a quotation that fits into a piece."""
    quoted = quotations(text, limit)
    places = [found.start() for found in _CLAUSE.finditer(text) if not is_inside(found.start(), quoted)]
    return [text[start:end] for start, end in itertools.pairwise([0, *places, len(text)])]


def _at_clauses(text: str, limit: int) -> list[str]:
    del limit
    return _CLAUSE_OR_END.split(text)


def _at_blanks(text: str, limit: int) -> list[str]:
    del limit
    return _BLANK.split(text)


def _at_characters(text: str, limit: int) -> list[str]:
    """Cut between characters as a reader sees them, none of the pieces over the limit but a lone one.

    Numbers and Latin words stay whole where they fit.
    """
    may_cut = boundaries(text)
    pieces: list[str] = []
    start = 0
    while len(text) - start > limit:
        cut = _cut(text, may_cut, start, limit)
        pieces.append(text[start:cut])
        start = cut
    return [*pieces, text[start:]]


def _cut(text: str, may_cut: bytes, start: int, limit: int) -> int:
    """The last place for a cut up to `limit` characters after `start`, or the first one beyond."""
    place = start + limit
    while place > start and (is_within_word(text, place) or not may_cut[place]):
        place -= 1
    if place > start:
        return _nicer(text, may_cut, start, place)
    place = may_cut.rfind(1, start + 1, start + limit + 1)
    if place < 0:
        return may_cut.index(1, start + limit + 1)
    return _nicer(text, may_cut, start, place)


def _nicer(text: str, may_cut: bytes, start: int, place: int) -> int:
    """A place shortly before one, where no small kana and no closing mark begins a piece; itself for none."""
    is_torn = is_within_word(text, place)
    for nicer in range(place, max(start, place - _LOOK_BACK), -1):
        is_good = text[nicer] not in _NO_START and may_cut[nicer]
        if is_good and (is_torn or not is_within_word(text, nicer)):
            return nicer
    return place


#: From a sentence to characters. What the last one leaves is never cut again.
_CUTS: Final[tuple[Callable[[str, int], list[str]], ...]] = (
    _at_clauses_outside,
    _at_clauses,
    _at_blanks,
    _at_characters,
)
