"""Where a key stands in a config: by the name of its place, or within an address.

One notion for all that meet configs: `llmbench check`, the move of older folders, and what hides headers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_HEADER: Final = re.compile("(?i)auth|key|token|secret|cookie|passw|credential|bearer")
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_a-zA-Z]+")
#: What may follow the word that says it.
_AFTER: Final = frozenset({"value", "primary", "secondary", "old", "new", "backup", "prod", "dev", "live"})
_ALWAYS: Final = frozenset(
    {
        *("secret", "secrets", "password", "passwords", "passwd", "pwd", "passphrase", "passcode", "jwt"),
        *("auth", "authorization", "bearer", "cookie", "cookies", "credential", "credentials"),
        *("パスワード", "暗証番号"),
    }
)
#: Words before `key` or `token` that make it another thing.
_OTHERWISE: Final = frozenset(
    {
        *("model", "reasoning", "cache", "routing", "sort", "group", "foreign", "task", "tier", "slot"),
        *("stage", "voice", "answer", "max", "min", "stop", "eos", "bos", "pad", "per", "next", "image"),
        "tokens",
    }
)
_BEFORE_TOKENS: Final = frozenset({"api", "access", "auth", "bearer", "refresh", "secret", "session"})
_JOINED: Final = re.compile(
    r"(?:api|access|auth|secret|private|client|subscription|account)(?:key|token|secret)s?"
)
_VARIABLE: Final = re.compile(r"\$?\{?([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\}?")
#: User and password of an address; a password may hold any character, a port is none.
_USER: Final = re.compile(
    r"(?i)\b([a-z][a-z0-9+.-]*://)([^\s/?#'\"]+|[^\s/?#@:'\"]*:(?![0-9]{1,5}(?:[/?#]|$))[^\s'\"]+)@"
)
_PARAMETER: Final = re.compile(r"([?&;#])([\w.%-]{1,80})=([^\s&;#'\"]+)")
#: Parameters of addresses that open something, besides those that are named like a key.
_OPENING: Final = frozenset({"sig", "signature", "code"})


def is_key_header(name: str) -> bool:
    """Whether a header, or an unknown field of a provider, holds a key by its name."""
    return _HEADER.search(name) is not None


def is_key_name(name: str) -> bool:
    """Whether a field anywhere in a config holds a key by its name, such as `apiKey` or `client_secret`."""
    words = [word.lower() for word in _WORDS.findall(name)]
    while len(words) > 1 and (words[-1] in _AFTER or words[-1].isdigit()):
        words.pop()
    if not words:
        return False
    last, before = words[-1], words[-2] if len(words) > 1 else None
    if last in _ALWAYS or words == ["pass"] or _JOINED.search("".join(words[-2:])) or _JOINED.search(last):
        return True
    if last == "tokens":
        return before is None or before in _BEFORE_TOKENS
    return last in ("key", "keys", "token") and before not in _OTHERWISE


def variable_named(text: str) -> str | None:
    """The environment variable that a text names, as `NAME_KEY` or `${NAME_KEY}`; None if it is none."""
    found = _VARIABLE.fullmatch(text.strip())
    return found[1] if found else None


def address_keys(text: str) -> Iterator[str]:
    """What opens something in the addresses of a text: users, passwords, and parameters."""
    for user in _USER.finditer(text):
        yield from (user[2], user[2].partition(":")[2] or user[2])
    yield from (found[3] for found in _PARAMETER.finditer(text) if _opens(found))


def without_address_keys(text: str) -> str:
    """The text with its addresses freed of users, passwords, and parameters that are keys."""
    bare = _USER.sub(lambda found: found[1], text)
    if not any(_opens(found) for found in _PARAMETER.finditer(bare)):
        return bare
    left = _PARAMETER.sub(lambda found: found[1] if _opens(found) else found[0], bare)
    return re.sub(r"[?&;#]+(?=[?&;#]|\s|$)", "", re.sub(r"\?[&;]+", "?", left))


def _opens(found: re.Match[str]) -> bool:
    """Whether a parameter is a key, and not the place for one."""
    is_named = is_key_name(found[2]) or found[2].lower() in _OPENING
    return is_named and found[3][0] not in "${<*"
