"""The rules that come with llmbench: addresses, numbers of people and cards, keys. Each in linear time.

They work on texts with narrow digits (`masking.narrow`). Patterns are read in ASCII terms: a Japanese letter
beside a value ends it, as a blank does. What has a check digit must pass it.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from llmbench.bench.datasets.masking import Rule, Spans

_JAPANESE: Final = "ぁ-んァ-ヶ一-龠々ー"
#: A name in Japanese letters has no end on its left: the words that it stands against are hidden with it.
_EMAIL: Final = re.compile(
    r"(?:(?<![A-Za-z0-9._%+'-])[A-Za-z0-9._%+'-]{1,128}(?:@|%40)"
    rf"|\"[^\"\n]{{1,64}}\"@|[{_JAPANESE}]{{1,32}}@)"
    rf"(?:[A-Za-z0-9{_JAPANESE}-]{{1,63}}\.){{1,8}}[A-Za-z]{{2,24}}",
    re.ASCII,
)
_URL: Final = re.compile(
    r"(?i)(?<![a-z0-9])[a-z][a-z0-9+]{1,15}://[^\s<>\"`|\\^「」『』、。）]{1,4000}", re.ASCII
)
_SECRET_KEY: Final = re.compile(
    r"(?i)(?:^|[?&;#])(?:[a-z0-9_.-]{0,40}(?:token|secret|signature|password|passwd|credential|session|auth)"
    r"|sig|key|api[-_]?key|access[-_]?key|pwd|code|jwt)=[^&#;]",
    re.ASCII,
)
_SECRET_PATH: Final = re.compile(r"(?i)^/(?:services|webhook|api/webhooks|bot\d)", re.ASCII)
_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s\\:,]*+(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
    r"|(?<![\w-])(?:sk|pk|rk|xai)-[\w-]{16,}|\b(?:sk|pk|rk)_(?:live|test)_\w{10,}|\b(?:gsk|fw|hf)_[A-Za-z0-9]{20,}"
    r"|\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}|\bxox[abeoprs]-[\w-]{10,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{20,}|(?<![\w-])eyJ[\w-]{10,}+\.[\w-]{10,}+\.[\w-]*"
    r"|(?i:\bbearer\s{1,4})(?P<bearer>[\w.~+/=-]{12,})"
    r"|(?i:\bauthorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?basic\s{1,4})(?P<basic>[\w+/=-]{4,})"
    r"|(?i:password|passwd|passphrase|api[ _-]?key|secret[ _-]?key|access[ _-]?token|パスワード|暗証番号)"
    r"[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?P<said>(?!\[[A-Z_]+\d*\])[^\s\"',;、。<>]{4,200})",
    re.ASCII,
)
#: What follows a decimal point is no number of its own.
_DIGITS: Final = re.compile(
    r"(?<!\d)(?<!\d\.)\d+(?:(?: {0,2}[-ーｰ・･_] {0,2}| {1,2})\d+(?!\d|\.\d))*+(?!\d|\.\d)", re.ASCII
)
_IPV4: Final = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)", re.ASCII)
_IPV6: Final = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{3,39}+(?:\.\d{1,3}){0,3}(?![\w:])", re.ASCII)
_JAPANESE_PHONE: Final = re.compile(
    r"(?:(?<![\w+-])|(?<=(?i:tel|fax)))\(?0[1-9]\d{0,3}\)?(?: ?[-ーｰ.・･] ?| )?\(?\d{1,4}\)?"
    r"(?: ?[-ーｰ.・･] ?| )?\d{3,4}(?![A-Za-z0-9]|[-_][A-Za-z0-9])",
    re.ASCII,
)
_INTERNATIONAL_PHONE: Final = re.compile(
    r"(?:(?<![\w+])\+[1-9]|(?<![\w+-])0081[ -])[\d ().ー-]{6,28}", re.ASCII
)
_AMERICAN_PHONE: Final = re.compile(
    r"(?<![\w-])(?:1[-. ])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[-.])\d{3}[-.]\d{4}(?![\w-])", re.ASCII
)
_POSTAL: Final = re.compile(
    r"(?:〒|郵便番号)[:=は\s]{0,4}(?:\d{3}[-ー ]?\d{4}(?!\d)|\(\d{3}[-ー ]?\d{4}\))"
    r"|(?<![\d-])\d{3}-\d{4}(?=\s{0,3}(?:東京都|北海道|大阪府|京都府|[一-龠]{2,3}県))",
    re.ASCII,
)
#: How the digits of a card number are grouped, one group apart.
_CARD_GROUPS: Final = ((4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), *((n,) for n in range(13, 20)))
_YEAR: Final = re.compile(r"(?:19|20)\d\d", re.ASCII)
_MY_NUMBER_GROUPS: Final = ((12,), (4, 4, 4))


def passes_luhn(digits: str) -> bool:
    """Whether a number has the check digit of ISO/IEC 7812-1, annex B (Luhn)."""
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def is_my_number(digits: str) -> bool:
    """Whether 12 digits are an Individual Number of Japan.

    With P_n the n-th digit from the right, check digit apart, and Q_n = n + 1 up to n = 6 and n - 5 from 7
    on, the check digit is 11 - (sum of P_n Q_n mod 11), 0 where the remainder is 0 or 1 (Ministry of Internal
    Affairs and Communications, ordinance 85 of 2014, article 5).
    """
    if len(digits) != 12 or len(set(digits)) == 1:
        return False
    weighed = (int(p) * (n + 1 if n <= 6 else n - 5) for n, p in enumerate(reversed(digits[:-1]), 1))
    rest = sum(weighed) % 11
    return int(digits[-1]) == (0 if rest <= 1 else 11 - rest)


def _is_card(digits: str) -> bool:
    return digits[0] in "23456" and len(set(digits)) > 1 and passes_luhn(digits)


def _grouped(shapes: Sequence[tuple[int, ...]], is_one: Callable[[str], bool]) -> Callable[[str], Spans]:
    """A finder of numbers whose digits stand in groups of these sizes, blanks or a hyphen between them.

    Groups that all read as years are a list of years.
    """
    shortest = min(map(sum, shapes))

    def find(text: str) -> Iterator[tuple[int, int]]:
        for run in _DIGITS.finditer(text):
            if len(run.group()) < shortest:
                continue
            groups = [group.span() for group in re.finditer(r"\d+", run.group())]
            sizes = tuple(end - start for start, end in groups)
            for first in range(len(groups)):
                for shape in shapes:
                    last = first + len(shape)
                    if sizes[first:last] != shape:
                        continue
                    start, end = groups[first][0] + run.start(), groups[last - 1][1] + run.start()
                    is_years = all(
                        _YEAR.fullmatch(text, at + run.start(), to + run.start())
                        for at, to in groups[first:last]
                    )
                    if not is_years and is_one(re.sub(r"\D", "", text[start:end])):
                        yield start, end

    return find


def _matches(pattern: re.Pattern[str], is_one: Callable[[str], bool] = bool) -> Callable[[str], Spans]:
    def find(text: str) -> Iterator[tuple[int, int]]:
        for match in pattern.finditer(text):
            if is_one(match.group()):
                yield match.span()

    return find


def _urls(text: str) -> Iterator[tuple[int, int]]:
    """URLs that open something: a name and password, a token among the parameters, a hook's path."""
    for match in _URL.finditer(text):
        url = match.group().rstrip(".,;:!?)]}'")
        try:
            parts = urlsplit(url)
        except ValueError:
            continue
        is_hook = _SECRET_PATH.search(parts.path) and re.search(
            r"hook|discord|telegram", parts.netloc + parts.path
        )
        if "@" in parts.netloc or is_hook or any(map(_SECRET_KEY.search, (parts.query, parts.fragment))):
            yield match.start(), match.start() + len(url)


def _keys(text: str) -> Iterator[tuple[int, int]]:
    for match in _KEY.finditer(text):
        yield match.span(match.lastgroup or 0)


def _is_address(text: str) -> bool:
    """Whether a text is an IP address; 5.2.1.3 is a section of a document, and as an address nobody's."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return len(text) > len("5.2.1.3") if address.version == 4 else any(char.isdigit() for char in text)


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for match in _JAPANESE_PHONE.finditer(text):
        if len(re.sub(r"\D", "", match.group())) in (10, 11):
            yield match.span()
    for match in _AMERICAN_PHONE.finditer(text):
        yield match.span()
    for match in _INTERNATIONAL_PHONE.finditer(text):
        length = _number_length(match.group())
        if length:
            yield match.start(), match.start() + length


def _number_length(text: str) -> int:
    """How many characters of a text that begins with `+` or 0081 are its number; 0 with too few digits.

    E.164 allows 15 digits; Japan's numbers have at most 12 with the country's 81, and one more for a written
    trunk zero, North America's 11.
    """
    most, least = 11 if text.startswith("+1") else 15, 8
    if japan := re.match(r"(?:\+|00)81[ -]?(\(?0)?", text):
        most = 13 if japan[1] else 12
    if text.startswith("00"):
        most, least = most + 2, 13
    ends = [match.end() for match in re.finditer(r"\d", text)][:most]
    return ends[-1] if len(ends) >= least else 0


def _digits(value: str) -> str:
    return re.sub(r"\D", "", unicodedata.normalize("NFKC", value))


def _phone_key(value: str) -> str:
    """The digits of a number as one dials them at home: +81 90… is 090…."""
    digits = _digits(value).removeprefix("00")
    is_abroad = unicodedata.normalize("NFKC", value).lstrip().startswith(("+81", "0081"))
    return "0" + digits[2:].lstrip("0") if is_abroad else digits


#: In order of precedence.
PERSONAL_RULES: Final[tuple[Rule, ...]] = (
    Rule("url", "[URL_{n}]", _urls, str),
    Rule("key", "[KEY_{n}]", _keys, str),
    Rule("email", "[EMAIL_{n}]", _matches(_EMAIL)),
    Rule("card", "[CARD_{n}]", _grouped(_CARD_GROUPS, _is_card), _digits),
    Rule("my_number", "[MY_NUMBER_{n}]", _grouped(_MY_NUMBER_GROUPS, is_my_number), _digits),
    Rule(
        "ip",
        "[IP_{n}]",
        lambda text: (*_matches(_IPV4, _is_address)(text), *_matches(_IPV6, _is_address)(text)),
    ),
    Rule("phone", "[PHONE_{n}]", _phones, _phone_key),
    Rule("postal", "[POSTAL_{n}]", _matches(_POSTAL), _digits),
)
