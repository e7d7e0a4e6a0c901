"""The texts that the reports' code, templates and notebook say, found in their sources."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, nodes

PACKAGE = Path(__file__).parents[1] / "llmbench"
TEMPLATES = PACKAGE / "analytics" / "templates"
NOTEBOOK = PACKAGE.parent / "notebooks" / "05_telemetry.ipynb"
_OTHER_REPORTS = ("verification", "live_progress")
SOURCES = [
    path
    for folder in ("analytics", "display")
    for path in sorted((PACKAGE / folder).glob("*.py"))
    if not path.name.startswith(_OTHER_REPORTS)
]
_BREAK = re.compile(r"\n\s*")


def said_texts() -> dict[str, str]:
    """Every text given to `say`, `mark` or `count`, or told by the notebook -> the file that says it."""
    found: dict[str, str] = {}
    for path in SOURCES:
        found |= dict.fromkeys(_of_python(ast.parse(path.read_text(encoding="utf-8"))), path.name)
    for path in sorted(TEMPLATES.glob("*.j2")):
        tree = Environment(autoescape=True).parse(path.read_text(encoding="utf-8"))
        found |= dict.fromkeys(map(_on_one_line, _of_template(tree)), path.name)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return found | dict.fromkeys(map(_on_one_line, _of_notebook(cells)), NOTEBOOK.name)


def _of_notebook(cells: list[dict]) -> Iterator[str]:
    """Headings and paragraphs, and the heads of the tables as they were shown."""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            for block in re.split(r"\n{2,}", "".join(cell["source"])):
                yield block.lstrip("#").strip()
        for output in cell.get("outputs", []):
            shown = "".join(output.get("data", {}).get("text/html", []))
            yield from re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', shown)


def fixed_words() -> str:
    """Every fixed piece of a text in the package, a line each: what a stored sentence is made of."""
    pieces = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        pieces += [
            n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
        ]
    return "\n".join(pieces)


def _on_one_line(text: str) -> str:
    return _BREAK.sub(" ", text)


def _of_python(tree: ast.Module) -> Iterator[str]:
    for scope in [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.Module)]:
        named = _assigned(scope)
        for call in _calls(scope):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in ("say", "mark") and call.args:
                first = call.args[0]
                yield from named.get(first.id, ()) if isinstance(first, ast.Name) else _constants(first)
            if name == "count" and len(call.args) == 2:
                yield from (f"{{n}} {noun}s" for noun in _constants(call.args[1]))


def _calls(scope: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(scope) if isinstance(node, ast.Call))


def _assigned(scope: ast.AST) -> dict[str, list[str]]:
    """Name -> the texts that the scope assigns to it."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).extend(_constants(node.value))
    return found


def _constants(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from (*_constants(node.body), *_constants(node.orelse))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def _of_template(tree: nodes.Template) -> Iterator[str]:
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name == "say":
            yield call.args[0].as_const()
    for found in tree.find_all(nodes.Filter):
        if found.name == "count_of":
            yield f"{{n}} {found.args[0].as_const()}s"
