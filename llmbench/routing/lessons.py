"""What hosts refused: a parameter that a model answered with status 400 is not sent to it again.

The registry may be wrong or late about a model. Its host's own word is kept while the process lives,
and every call that profits from it says so as an adjustment.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from llmbench.catalog import PARAMETERS, ModelSpec
from llmbench.errors import ProviderError
from llmbench.messages import Adjustment

#: Names of the wires, in lower case without separators -> the canonical parameter behind them.
#: Source: the request forms of Chat Completions, Responses and generateContent.
_CANONICAL: Final[Mapping[str, str]] = {
    **{name.replace("_", ""): name for name in PARAMETERS if name != "timeout"},
    "maxcompletiontokens": "max_tokens",
    "maxoutputtokens": "max_tokens",
    "reasoningeffort": "reasoning",
    "effort": "reasoning",
    "thinkingconfig": "reasoning",
    "thinkinglevel": "reasoning",
    "thinkingbudget": "reasoning",
    "stopsequences": "stop",
    "format": "response_format",
    "jsonschema": "response_format",
    "responseschema": "response_format",
    "responsejsonschema": "response_format",
    "responsemimetype": "response_format",
}
_LIMIT_KEYS: Final[Mapping[str, str]] = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}


@dataclass(frozen=True, slots=True)
class Taught:
    """Rules and options as a host takes them, what that changed, and which lessons were applied."""

    spec: ModelSpec
    options: Mapping[str, Any]
    adjustments: tuple[Adjustment, ...]
    applied: tuple[str, ...]


class Lessons:
    """Parameters that models refused, shared by the calls of a router; safe between threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._refused: dict[str, dict[str, str]] = {}

    def kept_for(self, models: Collection[str]) -> Lessons:
        """The lessons about these models alone."""
        kept = Lessons()
        with self._guard:
            kept._refused = {key: dict(known) for key, known in self._refused.items() if key in models}
        return kept

    def learn(
        self, model: str, error: ProviderError, sent: Mapping[str, Any], applied: Collection[str]
    ) -> bool:
        """Keep what a 400 says of a parameter; False when the request would be the same once more.

        Args:
            model: the model key.
            error: a failure of kind unsupported_param.
            sent: the canonical options of the request, `extra_body` included.
            applied: the lessons that the request followed already.
        """
        if error.kind != "unsupported_param" or not error.param:
            return False
        names = {name for path in error.param.split(",") if (name := _named(path, sent)) is not None}
        if not names:
            return False
        with self._guard:
            known = self._refused.setdefault(model, {})
            known |= dict.fromkeys(sorted(names - known.keys()), str(error))
        return bool(names - set(applied))  # another call may have learned the same meanwhile

    def apply(self, spec: ModelSpec, options: Mapping[str, Any]) -> Taught:
        """The model's rules and the options as its host takes them, and what that changed.

        An output limit is sent under its other name, a schema is asked for in the prompt; any other
        refused parameter is dropped.
        """
        if spec.key not in self._refused:
            return Taught(spec, options, (), ())
        with self._guard:
            refused = dict(self._refused[spec.key])
        kept, changes = dict(options), []
        for name, said in refused.items():
            rule = f"{spec.key} refused it: {said}"
            if name == "response_format":
                spec = replace(spec, params=replace(spec.params, response_format_support="prompt"))
                changes.append(Adjustment(name, "moved", name, "system prompt", rule))
            elif name == "max_tokens":
                key = _LIMIT_KEYS.get(spec.params.max_tokens_key, spec.params.max_tokens_key)
                changes.append(Adjustment(name, "renamed", spec.params.max_tokens_key, key, rule))
                spec = replace(spec, params=replace(spec.params, max_tokens_key=key))
            elif name in kept:
                changes.append(Adjustment(name, "dropped", kept.pop(name), None, rule))
            elif name in kept.get("extra_body", ()):
                extra = dict(kept["extra_body"])
                changes.append(Adjustment(name, "dropped", extra.pop(name), None, rule))
                kept["extra_body"] = extra
        return Taught(spec, kept, tuple(changes), tuple(refused))


def _named(path: str, sent: Mapping[str, Any]) -> str | None:
    """The option of this call behind a name such as `reasoning.effort` or `generationConfig.topK`."""
    parts = path.replace("[", ".").split(".")
    for part in (parts[0], *reversed(parts)):
        if part in sent.get("extra_body", ()):
            return part
    for part in reversed(parts):
        name = _CANONICAL.get(part.replace("_", "").lower())
        if name is not None and (name in sent or name == "response_format"):
            return name
    return None
