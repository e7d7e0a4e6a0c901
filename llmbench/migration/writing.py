"""The new folder: the text of each file, and all of them put in place at once.

A file that there was keeps its text, comments and order included; only what changed in it is rewritten.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from llmbench.config.load import load_config
from llmbench.config.model import FILES
from llmbench.config.yaml_source import parse_yaml
from llmbench.errors import ConfigError
from llmbench.migration.catalogue import Files
from llmbench.migration.comments import comments
from llmbench.migration.reading import Legacy
from llmbench.migration.rewriting import is_same, rewritten
from llmbench.migration.values import holds_key

_HEADS: Final[Mapping[str, str]] = {
    "llm_router.yaml": "Providers: where models answer. Keys are named by environment variable.",
    "llm_model_registry.yaml": "The models: who serves each, and what it can do.",
    "llm_tier_candidates.yaml": "Tier -> models, the first one first.",
    "llm_tier_mapping.yaml": "Task -> tier.",
    "llm_task_overrides.yaml": "Tasks with models or options of their own; the others follow their tier.",
}


class _Plain(yaml.SafeDumper):
    """Writes no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Every value is written out."""
        del data
        return True


def file_texts(legacy: Legacy, files: Files) -> dict[str, str]:
    """The text of each file. Comments that stand in none of them are losses."""
    texts = {name: _text(legacy, name, data) for name, data in files.items()}
    for name in (name for name in FILES if name in legacy.texts and name not in texts):
        if not legacy.sources[name].data and not holds_key(legacy.texts[name]):
            texts[name] = legacy.hidden(legacy.texts[name])  # comments alone
    for name, old in legacy.texts.items():
        if name not in texts and not name.endswith(".json") and (left := _comments(legacy, old)):
            reason = "comments stay in the older file; what they stand beside is in other files now"
            legacy.losses.add(legacy.files[name], ("comments",), f"{len(left)}: {' '.join(left)}", reason)
    return texts


def _text(legacy: Legacy, name: str, data: Mapping[str, Any]) -> str:
    old = legacy.texts.get(name)
    if old is not None and not legacy.files[name].endswith(".json"):
        kept = old if is_same(parse_yaml(old, name).data, data) else rewritten(old, name, data)
        if kept is not None and not holds_key(kept) and (clean := _clean(legacy, name, kept, data)):
            return clean
        if left := _comments(legacy, old):
            has_key = holds_key(old) or legacy.hidden(old) != old
            why = "one holds a key" if has_key else "the file has anchors or another layout"
            reason = f"comments are not carried: {why}"
            legacy.losses.add(legacy.files[name], ("comments",), f"{len(left)}: {' '.join(left)}", reason)
    head = f"# {_HEADS[name]}\n" if name in _HEADS else ""
    return head + _plain(data)


def _comments(legacy: Legacy, text: str) -> list[str]:
    """The comments of an older text, without keys."""
    return [legacy.hidden(comment) for comment in comments(text)]


def _clean(legacy: Legacy, name: str, text: str, data: Mapping[str, Any]) -> str | None:
    """The text without keys that its comments repeat; None where that would change the data."""
    clean = legacy.hidden(text)
    try:
        return clean if clean == text or parse_yaml(clean, name).data == data else None
    except ConfigError:
        return None


def _plain(data: Mapping[str, Any]) -> str:
    text = yaml.dump(data, Dumper=_Plain, allow_unicode=True, width=110, sort_keys=False)
    return str(text)


def put_in_place(texts: Mapping[str, str], target: Path, *, force: bool) -> Path | None:
    """Write the files into a folder beside the target, load them, and move the folder into place.

    Returns:
        Where the target's earlier content is now; None where there was none.

    Raises:
        ConfigError: the target is not empty and `force` is off, it cannot be written, or the new files do
            not load; the target is as it was then.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100  # resolve() would follow a link at the target
    if target.is_symlink():
        raise ConfigError(f"{target} is a link; name the folder that it leads to")
    is_full = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if is_full and not (force and target.is_dir()):
        raise ConfigError(f"{target} is not empty; name another folder, or --force to set it aside")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        for name, text in texts.items():
            (part / name).write_text(text, encoding="utf-8", newline="\n")
        load_config(part)
        kept = _aside(target) if is_full else None
        if target.exists():
            target.rmdir()
        try:
            part.rename(target)
        except OSError:
            if kept is not None:
                kept.rename(target)
            raise
        return kept
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _aside(target: Path) -> Path:
    """Rename a folder to one that says when it was set aside."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return target.rename(target.with_name(f"{target.name}.before-{stamp}"))
