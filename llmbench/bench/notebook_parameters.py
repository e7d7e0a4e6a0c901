"""Check a notebook and its parameters before a kernel starts.

papermill 2.7 only logs an unknown parameter, never compares types, and turns a value that it does not know
into text. Here each of these is a NotebookError. Parameters end up in the saved copy three times, so the
value of a secret is refused too.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import nbformat

from llmbench.bounded import parse_json, read_json
from llmbench.errors import NotebookError

_SECRET_NAME: Final = re.compile(r"_(KEY|TOKEN|SECRET)\Z")
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "int": (int,), "float": (float, int), "str": (str,), "bool": (bool,), "NoneType": (type(None),),
    "list": (list,), "List": (list,), "Sequence": (list,), "tuple": (list,), "Tuple": (list,),
    "dict": (dict,), "Dict": (dict,), "Mapping": (dict,),
}  # fmt: skip


def checked_notebook(
    source: Path, output: Path, parameters: Mapping[str, object]
) -> tuple[Any, dict[str, Any]]:
    """Return the notebook, its cells all with ids, and plain JSON parameter values.

    Raises:
        NotebookError: the notebook, the output's name or a parameter is wrong.
    """
    if output.suffix != ".ipynb":
        raise NotebookError(f"{output}: the executed copy's name must end in .ipynb")
    if output.resolve() == source.resolve():
        raise NotebookError(f"{source}: the executed copy would overwrite its source; give another output")
    nb = _read(source)
    declared = _declared(nb, source.name)
    return nb, _fitting(parameters, declared, source.name)


def typed_values(
    source: Path, given: Mapping[str, str], lists: Mapping[str, str]
) -> tuple[dict[str, object], dict[str, list[object]]]:
    """Turn a person's texts into values, by the annotations of the notebook's own parameters.

    A text stands for itself where a str is wanted, else for the JSON or Python literal that it spells. A list
    parameter may be given as `a,b`. A list of values is `1,2,3`, or a JSON list where a value has a comma.

    Args:
        source: the notebook.
        given: parameter -> text of its value.
        lists: parameter -> text of its values.

    Returns:
        The values and the lists. Whether they fit is left to `checked_notebook`, which says what does not.

    Raises:
        NotebookError: the notebook is wrong.
    """
    declared = _declared(_read(source), source.name)
    unknown = (None, False)
    values = {name: _typed(text, declared.get(name, unknown)[0]) for name, text in given.items()}
    many = {
        name: [
            _typed(item, declared.get(name, unknown)[0]) if isinstance(item, str) else item
            for item in _items(text)
        ]
        for name, text in lists.items()
    }
    return values, many


def parameter_names(source: Path) -> frozenset[str]:
    """The parameters that a notebook declares.

    Raises:
        NotebookError: it is no valid notebook, or has no plain `parameters` cell.
    """
    return frozenset(_declared(_read(source), source.name))


def _items(text: str) -> list[Any]:
    """The values of `1,2,3`, of a JSON list, or of JSON lists separated by commas."""
    if text.lstrip().startswith("["):
        for spelled in (text, f"[{text}]"):
            with contextlib.suppress(ValueError):
                found = parse_json(spelled)
                return found if isinstance(found, list) else [found]
    return [item.strip() for item in text.split(",") if item.strip()]


def _typed(text: str, wanted: ast.expr | None) -> object:
    """The first meaning of a text that fits: as JSON, as a Python literal, as itself, as a list of texts."""
    meanings: list[object] = []
    with contextlib.suppress(ValueError):
        meanings.append(parse_json(text))
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        meanings.append(ast.literal_eval(text.strip()))
    meanings.append(text)
    if wanted is None:
        return meanings[0]
    parts = [part.strip() for part in text.split(",") if part.strip()]
    meanings += [parts, [_typed(part, None) for part in parts]]
    return next((meaning for meaning in meanings if _fits(meaning, wanted)), meanings[0])


def _read(source: Path) -> Any:  # nbformat's nodes are untyped
    """Read a notebook and give each cell an id that is the same in every run (papermill would draw one)."""
    try:
        raw = read_json(source)
    except OSError as error:
        raise NotebookError(
            f"{source}: cannot be read ({error.strerror}); give the path of a notebook"
        ) from error
    except ValueError as error:
        raise NotebookError(f"{source}: is not a notebook (no JSON: {error})") from error
    if not isinstance(raw, dict) or raw.get("nbformat") != 4 or not isinstance(raw.get("cells"), list):
        raise NotebookError(f"{source}: is not a format 4 notebook; open and save it in JupyterLab")
    try:
        return _completed(raw, source)
    except (AssertionError, AttributeError, TypeError, ValueError, LookupError, RecursionError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise NotebookError(f"{source}: is no valid notebook ({said[:200]}); save it in Jupyter") from error


def _completed(raw: dict[str, Any], source: Path) -> Any:
    """A notebook's JSON with ids and a mark, checked by nbformat.

    Raises:
        NotebookError: it is of another language, or nbformat refuses it.
        AssertionError, AttributeError, TypeError, ValueError, LookupError, RecursionError: a part of it has
            another shape.
    """
    seen: set[str] = set()
    for number, cell in enumerate(raw["cells"], start=1):
        if cell.get("id") in seen or not cell.get("id"):
            cell["id"] = f"cell-{number}"
        seen.add(cell["id"])
    raw["nbformat_minor"] = max(5, raw.get("nbformat_minor", 0))
    metadata = raw.setdefault("metadata", {})
    language = metadata.get("kernelspec", {}).get("language") or metadata.get("language_info", {}).get("name")
    if (language or "python") != "python":
        raise NotebookError(f"{source}: is a {language} notebook; only Python notebooks can be run")
    metadata["llmbench"] = {"status": "interrupted"}  # what a copy says whose run never came to its end
    text = json.dumps(raw)
    nb = nbformat.v4.reads(text)  # type: ignore[no-untyped-call]  # joins lines, without logging
    try:
        nbformat.validate(nb)
    except nbformat.ValidationError as error:
        raise NotebookError(f"{source}: is not a valid notebook: {str(error).splitlines()[0]}") from error
    return nb


def _declared(nb: Any, name: str) -> dict[str, tuple[ast.expr | None, bool]]:
    """Read the tagged cell: parameter -> (type as an expression or None when unknown, has a default).

    Parsed as Python, since papermill's own inspection skips a line with two `=` in it (`a = "x=y"`).
    """
    cells = [c for c in nb.cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])]
    if not cells:
        raise NotebookError(f"{name}: no cell is tagged `parameters`; tag the cell that assigns the defaults")
    try:
        body = ast.parse(cells[0].source).body
    except SyntaxError as error:
        raise NotebookError(
            f"{name}: the `parameters` cell is not plain Python (line {error.lineno})"
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte, half a character, deep nesting
        raise NotebookError(f"{name}: the `parameters` cell is not plain Python ({error})") from error
    declared: dict[str, tuple[ast.expr | None, bool]] = {}
    for statement in body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            declared[statement.target.id] = (statement.annotation, statement.value is not None)
        elif isinstance(statement, ast.Assign):
            targets = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            declared |= dict.fromkeys(targets, (_inferred(statement.value), True))
    return declared


def _inferred(default: ast.expr) -> ast.expr | None:
    """Name the type of a literal default; None when it says nothing (None itself, or an expression)."""
    try:
        value = ast.literal_eval(default)
    except ValueError:
        return None
    return None if value is None else ast.Name(type(value).__name__)


def _fitting(
    parameters: Mapping[str, object], declared: Mapping[str, tuple[ast.expr | None, bool]], notebook: str
) -> dict[str, Any]:
    """Return the parameters as plain JSON values, or raise NotebookError naming the first that is wrong."""
    known = ", ".join(declared) or "none"
    values: dict[str, Any] = {}
    for name, given in parameters.items():
        if name not in declared:
            near = difflib.get_close_matches(name, declared, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise NotebookError(f"{notebook}: unknown parameter `{name}`{hint} (known: {known})")
        _refuse_secret(name, given, notebook)
        try:
            values[name] = json.loads(json.dumps(given, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            kind = type(given).__name__
            raise NotebookError(
                f"{notebook}: parameter `{name}` got a {kind}, wanted finite JSON values ({error})"
            ) from error
        wanted = declared[name][0]
        if wanted is not None and not _fits(values[name], wanted):
            got = f"{str(given)[:80]!r} ({type(given).__name__})"
            raise NotebookError(f"{notebook}: parameter `{name}` got {got}, wanted {ast.unparse(wanted)}")
    missing = [name for name, (_, has_default) in declared.items() if not has_default and name not in values]
    if missing:
        raise NotebookError(
            f"{notebook}: parameter `{missing[0]}` has no default and was not given (known: {known})"
        )
    return values


def _fits(value: object, wanted: ast.expr) -> bool:
    """Whether a JSON value fits an annotation. One that is not understood fits everything."""
    match wanted:
        case ast.Constant(value=None):
            return value is None
        case ast.Constant(value=str(text)):
            return _fits(value, ast.parse(text, mode="eval").body)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _fits(value, left) or _fits(value, right)
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inside):
            return _fits_generic(value, name, inside.elts if isinstance(inside, ast.Tuple) else [inside])
        case ast.Name(id=name) | ast.Attribute(attr=name):
            kinds = _KINDS.get(name, (object,))
            return isinstance(value, kinds) and (
                bool in kinds or object in kinds or not isinstance(value, bool)
            )
    return True


def _fits_generic(value: object, name: str, inside: Sequence[ast.expr]) -> bool:
    """Whether a value fits `name[inside]`: Literal, Optional, Union, or a container and its elements."""
    if name == "Literal":
        options = [ast.literal_eval(option) for option in inside]
        return any(value == option and type(value) is type(option) for option in options)
    if name in ("Optional", "Union"):
        return (name == "Optional" and value is None) or any(_fits(value, option) for option in inside)
    if not _fits(value, ast.Name(name)):
        return False
    if name in ("tuple", "Tuple") or name not in _KINDS:
        return True
    elements = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(_fits(element, inside[-1]) for element in elements)


def secret_values() -> dict[str, str]:
    """Environment variables that hold a secret by their name, as value -> name."""
    return {value: name for name, value in os.environ.items() if value and _SECRET_NAME.search(name)}


def _refuse_secret(name: str, given: object, notebook: str) -> None:
    secrets = secret_values()
    for text in texts(given):
        if text in secrets:
            raise NotebookError(
                f"{notebook}: parameter `{name}` holds the value of ${secrets[text]}, which would be saved "
                "in the copy; pass the variable's name and read it in the notebook"
            )


def texts(value: object) -> Iterator[str]:
    """Every text and number inside a parameter, as text."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from (str(key), *texts(inner))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts(inner)
    else:
        yield str(value)
