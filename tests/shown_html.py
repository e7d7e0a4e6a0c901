"""What a page or a notebook's output may be made of, however hostile the texts in it are."""

from __future__ import annotations

from collections.abc import Iterable
from html.parser import HTMLParser

from llmbench.visible import visible

#: Elements that can run, load, send or move the page; and those that take what follows out of sight.
ACTIVE = frozenset(
    [
        "script",
        "iframe",
        "object",
        "embed",
        "form",
        "input",
        "button",
        "select",
        "textarea",
        "base",
        "link",
        "meta",
        "applet",
        "frame",
        "frameset",
        "audio",
        "video",
        "source",
        "track",
        "portal",
        "template",
        "noscript",
        "plaintext",
        "xmp",
        "listing",
        "marquee",
        "dialog",
        "math",
        "foreignobject",
        "use",
        "animate",
        "set",
        "image",
    ]
)
#: Attributes that hold an address; only a picture in the page itself and a place in it are none to load.
ADDRESSES = frozenset(
    [
        "src",
        "srcset",
        "href",
        "xlink:href",
        "action",
        "formaction",
        "data",
        "poster",
        "background",
        "cite",
        "ping",
    ]
)


class Shown(HTMLParser):
    """A page as a browser would build it: its elements, its addresses, its text."""

    def __init__(self, text: str, *, may_link: bool = False) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[tuple[str, str]] = set()
        self.wrong: list[str] = []
        self._parts: list[str] = []
        self._may_link = may_link
        self.feed(text)
        self.close()

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in ACTIVE:
            self.wrong.append(f"<{tag}>")
        for name, value in attrs:
            self.names.add((tag, name))
            self._parts.append(f" {value} " if name in ("title", "alt", "aria-label") else "")
            if name.startswith("on") or (name in ADDRESSES and not self._is_harmless(value or "")):
                self.wrong.append(f"<{tag} {name}={value!r}>")

    def _is_harmless(self, value: str) -> bool:
        if value.startswith(("#", "data:image/png;base64,", "data:image/jpeg;base64,", "data:audio/")):
            return True
        return self._may_link and ":" not in value and not value.startswith("/")

    def handle_data(self, data: str) -> None:
        self._parts.append(data)

    def handle_comment(self, data: str) -> None:
        self.wrong.append(f"<!--{data[:40]}")

    def unknown_decl(self, data: str) -> None:
        self.wrong.append(f"<![{data[:40]}")


def require_harmless(text: str, marked: Iterable[tuple[str, str]] = (), *, may_link: bool = False) -> Shown:
    """Parse HTML, and require that nothing in it acts and that every marked text is in it, whole and visible.

    White space may have been joined; control characters and hidden marks must have become signs.
    """
    shown = Shown(text, may_link=may_link)
    assert shown.wrong == []
    assert visible(text) == text, "a control character or a hidden mark is on the page"
    flat = " ".join(shown.text.split())
    lost = [mark for mark, whole in marked if " ".join(visible(whole).split()) not in flat]
    assert not lost, f"{len(lost)} texts are not on the page as they are: {lost[:5]}"
    return shown
