"""The code blocks of README.md and docs/, and a project folder in which they run without a key."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from llmbench.providers.local_voices import VOICES
from tests.run_folders import telemetry_lines
from tests.servers.answers import responses_answer, responses_stream, sse
from tests.servers.chat_server import ChatServer, Received, Step

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(
    r"(?:^<!-- block: (?P<why>.+?) -->\n+)?^```(?P<lang>\w*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)
_THEIRS = {
    "litellm_payloads.jsonl": "payloads.jsonl",
    "litellm_spend_logs.csv": "spend.csv",
}
_CHAT = {"messages": [{"role": "user", "content": "続けて"}, {"role": "assistant", "content": "はい"}]}
_ASKED = {
    "custom_id": "a",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"messages": _CHAT["messages"][:1]},
}
_SAID = {
    "custom_id": "a",
    "response": {"status_code": 200, "body": {"choices": [{"message": {"content": "はい"}}]}},
}
_FILES = {
    "faq.csv": "question,answer,document\n"
    + "".join(f"質問{n}: {'海山川空'[n % 4] * (n + 3)}は?,答え{n},d{n}\n" for n in range(12)),
    "train.jsonl": json.dumps(_CHAT, ensure_ascii=False) + "\n",
    "batch_in.jsonl": json.dumps(_ASKED, ensure_ascii=False) + "\n",
    "batch_out.jsonl": json.dumps(_SAID, ensure_ascii=False) + "\n",
    "export.csv": "key,ended_at,kind,who,tags,seconds,model_cost,tool_cost,end,outcome\n"
    'k1,2026-11-22T09:00:00Z,llm,m,"[""task:caption""]",0.5,0.1,0.2,done,good\n',
}
_FILE = re.compile(r"^# (?P<name>[\w./-]+\.(?:yaml|yml|toml|json))\b")


@dataclass(frozen=True)
class Block:
    """One code block. `why` says why it is not run, where the page says so."""

    page: str
    line: int
    lang: str
    text: str
    why: str | None = None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        """The file that its first line names, or an empty text."""
        found = _FILE.match(self.text)
        return found["name"] if found else ""

    @property
    def commands(self) -> list[str]:
        """The lines that are typed into a shell, without prompt and comment."""
        joined = self.text.replace("\\\n", " ")
        if self.lang not in ("sh", "bash", "console", "", "text"):
            return []
        lines = [line.removeprefix("$ ") for line in joined.splitlines()]
        typed = re.compile(r"(?:llmbench [a-z]|make |pip |dask |inspect |curl |python |jupyter )")
        if self.lang in ("", "text") and not (lines and typed.match(lines[0])):
            return []
        return [re.sub(r"\s+#.*$", "", line).strip() for line in lines if typed.match(line)]


def blocks_of(page: Path) -> list[Block]:
    """Every block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    name = str(page.relative_to(ROOT))
    return [
        Block(name, text[: found.start("lang")].count("\n") + 1, found["lang"], found["text"], found["why"])
        for found in _BLOCK.finditer(text)
    ]


ALL = [block for page in PAGES for block in blocks_of(page)]


def of_language(*names: str) -> list[Block]:
    """The blocks of some languages that are run."""
    return [block for block in ALL if block.lang in names and block.why is None]


class ExampleServer(ChatServer):
    """Answers as Azure's Responses API does: with the least that a schema allows, else one line."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = _answer


def _answer(request: Received) -> Step:
    asked = request.json
    form = asked.get("text", {}).get("format", {})
    text = json.dumps(example_of(form["schema"])) if "schema" in form else "犬が浜辺を走る"
    if asked.get("stream"):
        return sse(responses_stream([text[:4], text[4:]]))
    return Step(responses_answer(text, azure=True))


def example_of(schema: Mapping[str, Any]) -> Any:
    """A value that obeys a plain JSON Schema."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {name: example_of(inner) for name, inner in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [example_of(schema["items"])] * schema.get("minItems", 1)
    return {"integer": 1, "number": 0.5, "boolean": True}.get(str(schema.get("type")), "ok")


def variables(server: ExampleServer) -> dict[str, str]:
    """An environment in which Azure's models answer from this machine, and speech by its own voices."""
    return {
        "AZURE_OPENAI_ENDPOINT": f"http://127.0.0.1:{server.port}",
        "AZURE_OPENAI_API_KEY": "canary-docs",
        "SPEECH_CLIENT_PROFILE": "offline",
    }


def has_voice() -> bool:
    """Whether the local voice of the pages is installed."""
    from llmbench.providers import local_models

    return "mei-joe" in VOICES and local_models.is_available("mei-joe")


def write_project(folder: Path) -> Path:
    """What the pages take for granted: configs, datasets, the example run, a log, files to import."""
    for name in ("configs", "datasets", "notebooks", "reports/example"):
        ignored = shutil.ignore_patterns("*.local.yaml", "__pycache__", "*.ipynb_checkpoints")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    log = folder / "workspaces" / "logs" / "llm_usage.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in _log_lines()), encoding="utf-8"
    )
    for copy in ("log-2026.jsonl", "imported.jsonl"):
        shutil.copy(log, folder / copy)
    interop = ROOT / "tests" / "data_interop"
    for theirs, ours in _THEIRS.items():
        shutil.copy(interop / theirs, folder / ours)
    for name, text in _FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    for block in ALL:
        if block.file in ("rules.yaml", "mytool.yaml"):
            (folder / block.file).write_text(block.text, encoding="utf-8")
    return folder


def _log_lines() -> Iterator[dict[str, Any]]:
    """Production calls, those of captions with the texts of our own dataset."""
    samples = (ROOT / "datasets" / "caption" / "data.jsonl").read_text(encoding="utf-8").splitlines()
    inputs = [json.loads(line)["input"] for line in samples]
    for number, line in enumerate(telemetry_lines(400)):
        text = inputs[number % len(inputs)]
        content = {"messages": [{"role": "user", "content": text}], "output": text[:20]}
        yield line | content | {"task": "caption", "channel": f"CH0{number % 7}"}


def taken_for_granted() -> dict[str, Any]:
    """The names that a page uses without saying where they come from."""
    prompts = [f"p{number}" for number in range(200)]

    def pull(model: str, prompt_ids: Sequence[str]) -> pd.DataFrame:
        is_reference = model in ("big", "azure/gpt-5-mini")
        rows = [
            {
                "prompt_id": prompt,
                "score": 0.9,
                "latency_ms": 800.0,
                "cost_usd": 0.01 if is_reference else 0.001,
                "status": "ok",
            }
            for prompt in prompt_ids
        ]
        return pd.DataFrame(rows)

    messages = [{"role": "user", "content": "島の朝市について、短い台本を書いて。"}]
    return {"pull": pull, "prompts": prompts, "messages": messages}
