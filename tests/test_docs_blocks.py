"""Every code block of README.md and docs/ is true: Python runs, commands parse, files load, SQL answers."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import shlex
import shutil
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

from llmbench.analytics.telemetry_store import load_store
from llmbench.analytics.warehouse import open_warehouse
from llmbench.bench.card import Card, MediaCard
from llmbench.bench.datasets.mask_rules import mask_rules
from llmbench.bench.plan_file import PlanFile
from llmbench.bench.scorers import SCORERS
from llmbench.cli import app
from llmbench.config import load_config
from llmbench.config.files import ROOTS
from llmbench.interop.mapping import load_mapping
from llmbench.routing.door import Door
from tests.docs_blocks import (
    ALL,
    ROOT,
    Block,
    ExampleServer,
    has_voice,
    of_language,
    taken_for_granted,
    variables,
    write_project,
)
from tests.servers.otlp_receiver import Receiver

PYTHON: dict[str, list[Block]] = defaultdict(list)
for _block in of_language("python"):
    PYTHON[_block.page].append(_block)
#: Verbs that need no model, no server and no kernel: their lines are run, the others are parsed.
RUN = re.compile(
    r"llmbench (explain|check|usage|query|models (list|status)|telemetry (load|import|archive)"
    r"|dataset (from-log|import|split|check|scorers))\b"
)


def test_every_language_of_a_block_is_one_that_is_tested():
    languages = {"python", "sh", "bash", "console", "yaml", "json", "toml", "sql", "text", ""}
    assert {block.lang for block in ALL} <= languages


def test_few_blocks_are_not_run_and_each_says_why():
    assert {(block.page, block.why) for block in ALL if block.why} == NOT_RUN


NOT_RUN = {("docs/reports.md", "needs a pull request and GitHub's gh")}


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = write_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def server():
    with ExampleServer() as running:
        yield running


@pytest.mark.parametrize("page", PYTHON)
def test_the_python_of_a_page_runs_in_order(page, project, server, monkeypatch):
    if any("SpeechClient" in block.text for block in PYTHON[page]) and not has_voice():
        pytest.skip("the voice mei-joe is not installed: run `llmbench models pull mei-joe`")
    log = Path("workspaces/logs/llm_usage.jsonl")
    load_store(Path("workspaces/telemetry.duckdb"), [log])
    for name, value in variables(server).items():
        monkeypatch.setenv(name, value)
    names = {"__name__": "__main__", **taken_for_granted()}
    with Receiver() as receiver:
        asyncio.run(_run_page(PYTHON[page], names, receiver.url))


async def _run_page(blocks: list[Block], names: dict[str, Any], collector: str) -> None:
    """Run blocks as a notebook's cells: on one loop, `await` at their top."""
    try:
        for block in blocks:
            text = block.text.replace("http://localhost:4318", collector)
            code = compile(text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            running = eval(code, names)  # noqa: S307 -- the page's own code
            if inspect.iscoroutine(running):
                await running
    finally:
        SCORERS.pop("tagged", None)
        for door in [value for value in names.values() if isinstance(value, Door)]:
            await door.aclose()
            door.close()


COMMANDS = [(block, line) for block in ALL if block.why is None for line in block.commands]


def ids(commands: list[tuple[Block, str]]) -> list[str]:
    return [f"{block}-{line[:50]}" for block, line in commands]


def parse(line: str) -> None:
    """Take a line apart as the command line would; a mistake in it raises."""
    command, words = typer.main.get_command(app), shlex.split(line)[1:]
    context = command.make_context("llmbench", list(words))
    while hasattr(command, "commands"):
        words = [*context._protected_args, *context.args]
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, list(words), parent=context)


@pytest.mark.parametrize(("block", "line"), COMMANDS, ids=ids(COMMANDS))
def test_a_command_is_one(block, line):
    program, *words = shlex.split(line)
    if program == "llmbench":
        parse(line)
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert {word for word in words if "=" not in word} <= set(targets)
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        named = re.findall(r"llmbench\[([\w,-]+)\]", line)
        assert named
        assert set(",".join(named).split(",")) <= set(extras["optional-dependencies"])


def test_a_wrong_command_is_found():
    for wrong in ("llmbench swep", "llmbench sweep --limt 3", "llmbench explain", "llmbench sweep --limit x"):
        with pytest.raises((Exception, SystemExit)):
            parse(wrong)


CHEAP: dict[str, list[str]] = defaultdict(list)
for _block, _line in COMMANDS:
    if RUN.match(_line):
        CHEAP[_block.page].append(_line)


@pytest.mark.parametrize("page", CHEAP)
def test_the_cheap_commands_of_a_page_run_in_order(page, project):
    for line in CHEAP[page]:
        words = [found for word in shlex.split(line)[1:] for found in globbed(word)]
        ran = CliRunner().invoke(app, words)
        assert ran.exit_code == 0, f"{line}\n{ran.output}{ran.exception!r}"


def globbed(word: str) -> list[str]:
    """A word as a shell would pass it on."""
    return sorted(map(str, Path().glob(word))) or [word] if "*" in word and " " not in word else [word]


YAML = of_language("yaml")


@pytest.mark.parametrize("block", YAML, ids=str)
def test_a_yaml_block_is_read_as_the_file_that_it_names(block, tmp_path):
    assert block.file, "its first line must name its file: `# llm_router.yaml`"
    name = Path(block.file).name
    path = tmp_path / name
    path.write_text(block.text, encoding="utf-8")
    data = yaml.safe_load(block.text)
    if name in ROOTS:
        _load(name, block.text, tmp_path)
    elif "sweeps/" in block.file:
        base = {"name": "page", "candidates": ["a"], "tasks": {"caption": None}}
        PlanFile.model_validate(base | data)
    elif name == "card.yaml":
        kind, dataset = (MediaCard, "narration") if "modality" in data else (Card, "caption")
        base = yaml.safe_load((ROOT / "datasets" / dataset / name).read_text(encoding="utf-8"))
        kind.model_validate(base | data)
    elif name == "rules.yaml":
        assert mask_rules(path)
    else:
        assert load_mapping(path).name == path.stem


def _load(name: str, text: str, folder: Path) -> None:
    """Load a config file: a router's by itself, any other one over the shipped folder."""
    if name == "llm_router.yaml" and "models:" in text:
        load_config(folder)
        return
    configs = folder / "configs"
    ignored = shutil.ignore_patterns("*.local.yaml", "sweeps", "schema")
    shutil.copytree(ROOT / "configs", configs, ignore=ignored)
    end = ".local.yaml" if (configs / name).exists() else ".yaml"
    (configs / (name.removesuffix(".yaml") + end)).write_text(text, encoding="utf-8")
    load_config(configs)


@pytest.mark.parametrize("block", of_language("json"), ids=str)
def test_a_json_block_is_json(block):
    for line in block.text.split("\n\n"):
        json.loads(line)


@pytest.mark.parametrize("block", of_language("toml"), ids=str)
def test_a_toml_block_is_toml(block):
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", of_language("sql"), ids=str)
def test_a_sql_block_is_answered(block, project):
    log = project / "workspaces" / "logs" / "llm_usage.jsonl"
    with open_warehouse(run_dirs=[project / "reports" / "example"], telemetry=[log]) as warehouse:
        for query in filter(str.strip, block.text.split(";")):
            warehouse.query(query)
