"""Whatever stands in a file that a person writes, it is read or refused by an error of the tree."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import yaml

from llmbench import LLMClient
from llmbench.bench.dataset import load_dataset
from llmbench.bench.datasets.mask_rules import mask_rules
from llmbench.bench.edit import read_mapping
from llmbench.bench.notebook_parameters import checked_notebook
from llmbench.bench.plan_build import make_plan
from llmbench.bench.plan_file import read_plan_file
from llmbench.check import check_folder
from llmbench.config import read_environment
from llmbench.config.model_import import import_models
from llmbench.config.yaml_source import parse_yaml
from llmbench.interop.mapping import load_mapping
from tests.fuzzing import as_bytes, changed, fuzz, json_text, one_of, patient, spliced, yaml_text
from tests.sweep_project import write_project

ROOT = Path(__file__).parents[1]
SHIPPED = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "configs").glob("*.yaml"))}
CALLS = (("translate_line", None), ("caption", "CH01"), ("x", None))
RULES = "without: [ip]\nrules:\n  - name: employee\n    pattern: 'EMP-[0-9]+'\n    replacement: '[X{n}]'\n"


@patient
def test_a_config_folder_loads_checks_and_explains_or_is_refused(tmp_path):
    configs = tmp_path / "configs"
    configs.mkdir()
    for name, text in SHIPPED.items():
        (configs / name).write_text(text, encoding="utf-8")

    def act(draw: random.Random) -> None:
        name = one_of(list(SHIPPED), draw)
        place = configs / (name if draw.random() < 0.8 else name.replace(".yaml", ".local.yaml"))
        place.write_bytes(as_bytes(yaml_text(SHIPPED[name], draw), draw))
        try:
            check_folder(configs, variables={})
            with LLMClient(configs, variables={}, log_path=tmp_path / "log.jsonl") as client:
                task, channel = one_of(CALLS, draw)
                client.explain(task, "text", channel=channel)
        finally:
            place.unlink()
            (configs / name).write_text(SHIPPED[name], encoding="utf-8")

    fuzz(act, examples=12)


@patient
def test_yaml_is_a_mapping_of_plain_values_or_is_refused():
    samples = [
        *SHIPPED.values(),
        "a: &x [1, 2]\nb: *x\n",
        "x: !!bool maybe\n",
        "a: !!int ''\n",
        "? {a: b}\n: c\n",
    ]

    def act(draw: random.Random) -> None:
        text = yaml_text(one_of(samples, draw)[:600], draw)
        reader = draw.choice((lambda: parse_yaml(text, "x.yaml"), lambda: read_mapping(text)))
        reader()

    fuzz(act, examples=300)


@patient
def test_a_plan_is_read_and_made_or_refused(tmp_path):
    project = write_project(tmp_path, 9)
    path = project.configs / "sweeps" / "small.yaml"
    samples = [path.read_text(), (ROOT / "configs" / "sweeps" / "default.yaml").read_text(encoding="utf-8")]
    client = LLMClient(project.configs, variables={}, log_path=None)

    def act(draw: random.Random) -> None:
        path.write_bytes(as_bytes(yaml_text(one_of(samples, draw), draw), draw))
        make_plan(read_plan_file(path), client, datasets=project.datasets)

    with client:
        fuzz(act, examples=60)


@patient
def test_a_dataset_is_loaded_or_refused(tmp_path):
    write_project(tmp_path, 9)
    folder = tmp_path / "datasets" / "labels"
    card, data = folder / "card.yaml", folder / "data.jsonl"
    texts = card.read_text(), data.read_text()

    def act(draw: random.Random) -> None:
        rows = [json.loads(line) for line in texts[1].splitlines()]
        if draw.random() < 0.6:
            card.write_bytes(as_bytes(yaml_text(texts[0], draw), draw))
            data.write_text(texts[1])
        else:
            lines = [json_text(row, draw) if draw.random() < 0.2 else json.dumps(row) for row in rows]
            card.write_text(texts[0])
            data.write_bytes(as_bytes("\n".join(lines), draw))
        load_dataset(folder)

    fuzz(act, examples=100)


@patient
def test_mask_rules_and_mappings_are_read_or_refused(tmp_path):
    mappings = [
        path.read_text("utf-8") for path in (ROOT / "llmbench" / "interop" / "mappings").glob("*.yaml")
    ]
    path = tmp_path / "x.yaml"

    def act(draw: random.Random) -> None:
        read, text = draw.choice(((mask_rules, RULES), *((load_mapping, each) for each in mappings)))
        path.write_bytes(as_bytes(yaml_text(text, draw), draw))
        read(path)

    fuzz(act, examples=60)


@patient
def test_a_notebook_and_its_parameters_are_read_or_refused(tmp_path):
    source = json.loads((ROOT / "notebooks" / "00_tour.ipynb").read_text(encoding="utf-8"))
    source["cells"] = [cell for cell in source["cells"] if "parameters" in cell["metadata"].get("tags", [])][
        :1
    ]
    path = tmp_path / "00_tour.ipynb"

    def act(draw: random.Random) -> None:
        path.write_bytes(as_bytes(json_text(source, draw), draw))
        values = changed({"run_id": "x", "task": "y"}, draw)
        checked_notebook(path, tmp_path / "out.ipynb", values if isinstance(values, dict) else {})

    fuzz(act, examples=100)


@patient
def test_variables_are_read_or_refused():
    texts = ['{"caption": ["a", "b"]}', "1", "a,b", "true", "{}"]
    names = (
        "LLM_FORCE_TASK_MODELS_JSON",
        "LLM_FORCE_MODELS",
        "LLM_MODEL_SLOT",
        "LLM_ALLOW_FALLBACK",
        "LLM_ENV",
    )

    def act(draw: random.Random) -> None:
        read_environment({name: spliced(one_of(texts, draw), draw) for name in names})

    fuzz(act)


@patient
def test_a_list_of_models_is_imported_or_refused(tmp_path):
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "llm_router.yaml").write_text("providers: {openrouter: {}}\n")
    source, target = tmp_path / "models.json", configs / "llm_model_registry.local.yaml"
    row = {
        "id": "qwen/qwen3",
        "context_length": 32768,
        "supported_parameters": ["temperature", "reasoning"],
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
        "pricing": {"prompt": "0.0000001", "completion": "0.0000002"},
        "top_provider": {"max_completion_tokens": 4096},
    }

    def act(draw: random.Random) -> None:
        source.write_bytes(as_bytes(json_text({"data": [row, {**row, "id": "a/b"}]}, draw), draw))
        target.unlink(missing_ok=True)
        import_models(source, target)

    fuzz(act, examples=60)


def test_the_fuzzer_finds_what_is_not_caught():
    with pytest.raises((yaml.YAMLError, ValueError, KeyError, RecursionError)):
        fuzz(lambda draw: yaml.safe_load(yaml_text(SHIPPED["llm_router.yaml"], draw)), examples=300)
