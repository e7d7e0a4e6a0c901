"""An executed notebook as one HTML page that stands alone: no code, no script, no address outside itself.

nbconvert's HTMLExporter turns the notebook into the page by the template below. What goes in was cleaned
before: of an output one form is kept (a picture, else a table, else text), and tags and attributes that are
on no list here are taken out. The page's own policy forbids scripts and loading besides.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import bleach  # type: ignore[import-untyped]
import nbformat
from nbconvert import HTMLExporter
from nbconvert.filters import strip_ansi
from nbformat.v4 import new_output

from llmbench.analytics.templating import language_style, page_name
from llmbench.display import traffic_figures_marks
from llmbench.display.language import LANGUAGES, say, spoken, translated
from llmbench.errors import WarehouseError
from llmbench.own_files import write_beside
from llmbench.visible import visible

PAGE: Final = "telemetry.html"
"""The page in English; page_name gives the others'."""
_REPORT_STYLE: Final = Path(__file__).parent / "templates" / "report.css"
_OWN_STYLE: Final = """
main { padding-top: clamp(1.5rem, 5vw, 3rem); padding-bottom: 3rem; }
main > p, main > ul, main > pre { margin: .9rem 0; }
pre { white-space: pre-wrap; }
.scroll { width: fit-content; max-width: 100%; } .scroll table { width: auto; min-width: min(26rem, 100%); }
.scroll p { padding: 0 1rem .6rem; margin: 0; color: var(--soft); font-size: .85rem; }
.scroll th, .scroll td { padding: .4rem .8rem; }
.scroll tbody :is(th, td):lang(ja) { word-break: keep-all; }
.pictures { grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 32rem)); align-items: start; }
@media print {
  .scroll table { font-size: 6.5pt; min-width: 0; }
  .scroll th, .scroll td { padding: .2rem .3rem; } .scroll thead th { font-size: 6.3pt; }
  .pictures { grid-template-columns: 1fr 1fr; }
}
"""
_PAGE: Final = """<!doctype html>
<html lang="{{ nb.metadata.page.lang }}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{{ nb.metadata.page.title | e }}</title>
<style>{{ nb.metadata.page.style }}</style>
</head>
<body>
<main>
{% if nb.metadata.page.others %}<p class="eyebrow others">\
{% for tag, name, file in nb.metadata.page.others %}\
<a href="{{ file }}" lang="{{ tag }}" hreflang="{{ tag }}">{{ name }}</a>{{ "" if loop.last else " · " }}\
{% endfor %}</p>{% endif %}
{% for cell in nb.cells %}
{% if cell.cell_type == "markdown" %}{{ cell.source | markdown2html | cleaned_text }}
{% if loop.first %}<p class="soft">{{ nb.metadata.page.made_from | e }}</p>{% endif %}
{% else %}{% for output in cell.get("outputs", []) %}{{ output.data["text/html"] }}
{% endfor %}{% endif %}
{% endfor %}
</main>
</body>
</html>
"""
_TEXT_TAGS: Final = frozenset(
    re.findall(r"\w+", "h1 h2 h3 h4 p ul ol li em strong b i code pre hr br table thead tbody tr th td")
)
_OUTPUT_TAGS: Final = _TEXT_TAGS | {"div", "span", "small", "caption"}
_HTML_ATTRIBUTES: Final = {"*": ["class"], "th": ["class", "scope", "colspan"], "td": ["class", "colspan"]}
_GONE: Final = re.compile(r"<(style|script)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_HEADING: Final = re.compile(r"^#+[ \t]+(.+)$", re.MULTILINE)
_BLOCK: Final = re.compile(r"^(#+[ \t]+)?(\S.*(?:\n[ \t]*\S.*)*)", re.MULTILINE)
_SVG_TAGS: Final = frozenset(
    re.findall(r"\w+", "svg g title desc rect circle line polyline polygon path text tspan")
)
_SVG_ATTRIBUTES: Final = frozenset(
    re.findall(
        r"[\w-]+",
        "class viewBox role id aria-labelledby aria-hidden x y x1 x2 y1 y2 cx cy r rx ry width height d "
        "points text-anchor transform",
    )
)
_IMAGES: Final = ("image/png", "image/jpeg")


def write_page(notebook: Path, page: Path, *, others: Sequence[str] = ()) -> Path:
    """Write an executed notebook as one HTML page in the spoken language, whole or not at all.

    Args:
        notebook: The executed copy, run in that language.
        page: The HTML file; its folder is made, a page that is there is replaced.
        others: Tags of the languages whose pages lie beside this one.

    Returns:
        The page.

    Raises:
        WarehouseError: the notebook cannot be read, or the page cannot be written.
    """
    try:
        nb = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise WarehouseError(
            f"{notebook}: no notebook to make a page of; run it first ({type(error).__name__})"
        ) from error
    text = page_text(nb, title=say("Telemetry report"), others=others)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_beside(page, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise WarehouseError(f"{page} cannot be written: {error.strerror}") from error
    return page


def page_text(nb: Any, *, title: str, others: Sequence[str] = ()) -> str:  # nbformat's nodes are untyped
    """The page of an executed notebook, whose cells it takes over. The same notebook gives the same text."""
    label = title
    for number, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown":
            cell.source = told_text(cell.source)
            label = (_HEADING.findall(cell.source) or [label])[-1].strip()
        if cell.cell_type == "code":
            found = [cleaned_output(each, f"c{number}-{at}", label) for at, each in enumerate(cell.outputs)]
            parts = [part for part in found if part]
            cell.outputs = [_as_html(_arranged(parts))] if parts else []
    nb.cells = [cell for cell in nb.cells if cell.cell_type in ("markdown", "code") and not _is_removed(cell)]
    sheets = (_REPORT_STYLE.read_text(encoding="utf-8"), traffic_figures_marks.style(), _OWN_STYLE)
    nb.metadata["page"] = {
        "title": title,
        "lang": spoken(),
        "others": [(tag, LANGUAGES[tag], page_name(tag, PAGE)) for tag in others],
        "style": "".join([*sheets, language_style()]),
        "made_from": _made_from(nb.metadata),
    }
    exporter = HTMLExporter(raw_template=_PAGE, exclude_anchor_links=True)  # type: ignore[no-untyped-call]
    exporter.register_filter("cleaned_text", cleaned_text)  # type: ignore[no-untyped-call]
    text: str = exporter.from_notebook_node(nb)[0]
    return text


def told_text(source: str) -> str:
    """Markdown in the spoken language: each block that we know; the others stay as they are."""
    return _BLOCK.sub(lambda block: (block[1] or "") + translated(block[2]), source)


def _is_removed(cell: Any) -> bool:
    """Whether a cell is for those who run the notebook, not for those who read the page."""
    return "remove-cell" in cell.metadata.get("tags", [])


def _as_html(text: str) -> Any:
    return new_output("display_data", {"text/html": text})  # type: ignore[no-untyped-call]


def _arranged(parts: list[str]) -> str:
    """The outputs of one cell; several pictures stand side by side where there is room."""
    if len(parts) > 1 and all(part.startswith("<figure>") for part in parts):
        return f'<div class="pictures">{"".join(parts)}</div>'
    return "\n".join(f'<div class="pictures">{p}</div>' if p.startswith("<figure>") else p for p in parts)


def _made_from(metadata: Mapping[str, Any]) -> str:
    """Which notebook the page was made from, and with which parameters."""
    run = metadata.get("papermill", {})
    values = ", ".join(f"{name} = {value!r}" for name, value in run.get("parameters", {}).items())
    path = run.get("input_path", say("a notebook"))
    text = "Made from {path} with {values}. Times are UTC." if values else "Made from {path}. Times are UTC."
    return visible(say(text, path=path, values=values))


def cleaned_text(text: str) -> str:
    """Markdown that became HTML, without all that could run, load or lead away."""
    return str(bleach.clean(_GONE.sub("", text), tags=_TEXT_TAGS, attributes={}, strip=True))


def cleaned_output(output: Mapping[str, Any], key: str, label: str = "Table") -> str:
    """One output as safe HTML; empty where no form of it can be shown.

    Args:
        output: A cell's output: a stream, an error, or data in several forms.
        key: Distinguishes the ids of its picture from those of the page's others.
        label: Names its table for those who do not see what stands above it.
    """
    if output["output_type"] == "stream":
        return _pre(output["text"])
    if output["output_type"] == "error":
        return _pre("\n".join(output["traceback"]))
    data = output["data"]
    if "image/svg+xml" in data:
        return _picture(data["image/svg+xml"], key)
    if "text/html" in data:
        return _table(data["text/html"], label)
    for kind in _IMAGES:
        if kind in data:
            inside = re.sub(r"[^A-Za-z0-9+/=]", "", data[kind])
            return f'<figure><img alt="" src="data:{kind};base64,{inside}"></figure>'
    return _pre(data.get("text/plain", ""))


def _pre(text: str) -> str:
    plain = strip_ansi(text)  # type: ignore[no-untyped-call]
    shown = visible(plain).strip("\n")
    return f"<pre>{html.escape(shown)}</pre>" if shown else ""


def _table(text: str, label: str) -> str:
    clean = str(bleach.clean(_GONE.sub("", text), tags=_OUTPUT_TAGS, attributes=_HTML_ATTRIBUTES, strip=True))
    if "<table" not in clean:
        return clean
    named = html.escape(visible(label))
    return f'<div class="scroll" role="group" aria-label="{named}" tabindex="0">{clean}</div>'


def _picture(text: str, key: str) -> str:
    """A picture inside the page: the page's style sheet colours it, and only drawing is left of it."""
    if "<!" in text:
        return _pre(say("a picture with declarations of its own is not shown"))
    try:
        root = ET.fromstring(text)  # noqa: S314 - without declarations there are no entities to blow up
    except ET.ParseError:
        return _pre(say("a picture that is no SVG is not shown"))
    drawn = _drawing(root, key)
    if drawn is None:
        return _pre(say("a picture that is no SVG is not shown"))
    for name in ("width", "height"):
        drawn.attrib.pop(name, None)
    return f"<figure>{ET.tostring(drawn, encoding='unicode')}</figure>"


def _drawing(element: ET.Element, key: str) -> ET.Element | None:
    """A copy of what is on the lists, with ids of its own; None where the element is not."""
    tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
    if tag not in _SVG_TAGS:
        return None
    kept = {name: value for name, value in element.attrib.items() if name in _SVG_ATTRIBUTES}
    for name in {"id", "aria-labelledby"} & kept.keys():
        kept[name] = " ".join(f"{key}-{word}" for word in kept[name].split())
    copy = ET.Element(tag, kept)
    copy.text, copy.tail = element.text, element.tail
    copy.extend([inner for each in element if (inner := _drawing(each, key)) is not None])
    return copy
