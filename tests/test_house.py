"""The rules of the house, held against the whole tree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "llmbench").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FORBIDDEN_WORDS = {"utils", "util", "helpers", "helper", "common", "manager", "handler", "misc"}


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: the tree as it is tracked cannot be listed")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def identifier(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=identifier)
def test_no_module_is_over_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=identifier)
def test_no_function_is_over_60_lines_of_code(path):
    """The docstring does not count: it is for the reader, not for the function's job."""
    for function in functions(path):
        has_docstring = ast.get_docstring(function) is not None
        first = function.body[min(int(has_docstring), len(function.body) - 1)]
        lines = (function.end_lineno or first.lineno) - first.lineno + 1
        assert lines <= 60, f"{function.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=identifier)
def test_every_module_says_what_it_is_and_none_is_named_for_nothing(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert not FORBIDDEN_WORDS & set(path.stem.split("_"))


def test_the_layers_are_kept():
    """import-linter reads the contracts in pyproject.toml."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    ran = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_public_names_exist_and_load_nothing_heavy_before_use():
    program = (
        "import sys, llmbench\n"
        "heavy = {'httpx', 'pydantic', 'pandas', 'numpy', 'duckdb', 'scipy', 'papermill', 'typer', 'yaml'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "for name in llmbench.__all__: assert getattr(llmbench, name) is not None, name\n"
        "assert set(llmbench.__all__) <= set(dir(llmbench))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_the_public_names_are_the_ones_the_type_checker_sees():
    import llmbench

    tree = ast.parse((ROOT / "llmbench" / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("llmbench")
        for alias in node.names
    }
    assert typed == set(llmbench.__all__) - {"__version__"}


def test_environment_variables_are_read_in_the_config_package_and_nowhere_else():
    """The cache folder of the local models is the one exception; its reason stands at the place."""
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if re.search(r"os\.environ\b|os\.getenv\b", path.read_text(encoding="utf-8"))
    }
    serving = {path for path in readers if "/routing/" in path or "/providers/" in path}
    assert serving <= {
        "llmbench/providers/local_models.py",  # LLMBENCH_CACHE
        "llmbench/providers/embedded_server.py",  # sets OMP_WAIT_POLICY for its own process
        "llmbench/providers/embedded.py",  # hands its environment on to that process
    }


def test_a_catch_all_except_stands_at_a_sweeps_cell_and_where_an_error_changes_threads():
    places = [
        f"{identifier(path)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"except (Exception|BaseException)\b.*:", line) and "raise" not in line
    ]
    caught = [place for place in places if not _raises_on(place)]
    allowed = {
        "llmbench/bench/asking.py",
        "llmbench/bench/cluster_calls.py",
        "llmbench/bench/notebook_kernel.py",
    }
    assert {place.split(":")[0] for place in caught} <= allowed
    assert len(caught) <= 3


def _raises_on(place: str) -> bool:
    """A handler that ends in a bare raise catches nothing."""
    name, number = place.split(":")
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    handlers = [n for n in ast.walk(tree) if isinstance(n, ast.ExceptHandler) and n.lineno == int(number)]
    return all(isinstance(h.body[-1], ast.Raise) and h.body[-1].exc is None for h in handlers)


def test_no_file_names_a_machine_path_or_a_package_index():
    wrong = re.compile(
        r"(?<![\w.])/(?:work|farm|root|home/\w+)/|/tmp/[a-z]|https?://[^\s\"']*/(?:simple|packages)/"
        r"|registry *= *[\"']?https?:|(?:files\.)?pythonhosted\.org|index-url"
    )
    allowed = {ROOT / "tests" / "test_house.py"}
    found = []
    for path in tracked_files():
        if path in allowed or path.suffix in {".png", ".gguf"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{identifier(path)}: {match.group()}" for match in wrong.finditer(text)]
    assert found == []


def test_the_pinned_requirements_have_a_hash_each_and_no_address():
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        text = path.read_text(encoding="utf-8")
        assert "://" not in text
        for block in re.split(r"\n(?=\S)", text.strip()):
            assert "--hash=sha256:" in block, block.splitlines()[0]


def test_every_dependency_says_what_it_is_for():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)
    named = [*project["project"]["dependencies"]]
    named += [item for group in project["project"]["optional-dependencies"].values() for item in group]
    named += [item for group in project["dependency-groups"].values() for item in group]
    for item in named:
        assert re.search(rf'"{re.escape(item)}",\s*# \w+', text), f"{item} has no purpose beside it"
