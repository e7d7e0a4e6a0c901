"""Chat messages as a row can hold them: the turns before, and the user's last text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llmbench.bench.datasets.texts import ChatText

_ROLES: Final = frozenset({"system", "developer", "user", "assistant"})
#: Keys of a turn that change nothing of what a model reads.
_IDLE_KEYS: Final = frozenset({"role", "content", "weight"})


class NotARow(ValueError):
    """Something that cannot become a row; the text is the reason, without any content."""


@dataclass(frozen=True, slots=True)
class Chat:
    """A prompt. `turns` are (role, text) before the `input`, which the user said last."""

    turns: tuple[tuple[str, str], ...]
    input: str

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text, in order."""
        return (*(text for _, text in self.turns), self.input)

    @property
    def asked(self) -> tuple[str, ...]:
        """What the user said, in order: without instructions and answers."""
        return (*(text for role, text in self.turns if role == "user"), self.input)

    @property
    def opening(self) -> tuple[str, ...]:
        """What a conversation begins with: the instructions, and what the user says first."""
        said = [*self.turns, ("user", self.input)]
        first = next(place for place, (role, _) in enumerate(said) if role == "user")
        return tuple(text for _, text in said[: first + 1])


def chat_text(chat: Chat) -> ChatText:
    """What is compared of a chat."""
    return ChatText("\n".join(chat.asked), "\n".join(chat.texts))


def read_chat(messages: Any) -> Chat:
    """The chat in a list of messages (or in one text, which the user said).

    Raises:
        NotARow: the last turn is not the user's, or a turn is not plain text (images, tools, names).
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if not isinstance(messages, list) or not messages:
        raise NotARow("no prompt")
    turns = [_turn(message) for message in messages]
    role, text = turns[-1]
    if role != "user":
        raise NotARow(f"the last turn is the {role}'s, not the user's")
    if not text.strip():
        raise NotARow("the last turn is empty")
    return Chat(tuple(turns[:-1]), text)


def plain_text(content: Any) -> str:
    """A turn's text.

    Raises:
        NotARow: it has other parts, or characters that no file can hold.
    """
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], Mapping):
        content = content[0].get("text")
    if not isinstance(content, str):
        raise NotARow("a turn is not one plain text")
    if not is_writable(content):
        raise NotARow("a turn has half a character (a lone surrogate)")
    return content


def is_writable(text: str) -> bool:
    """Whether a text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _turn(message: Any) -> tuple[str, str]:
    if not isinstance(message, Mapping):
        raise NotARow("a turn is not an object")
    role = message.get("role")
    others = sorted(str(key) for key, value in message.items() if key not in _IDLE_KEYS and value)
    if not isinstance(role, str) or role not in _ROLES:
        raise NotARow("a turn is a tool's" if role in ("tool", "function") else "a turn has no known role")
    if others:
        raise NotARow("a turn has more than a role and a text")
    return str(role), plain_text(message.get("content"))
