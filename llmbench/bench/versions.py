"""Model versions in a ledger: an alias at a provider may be another model tomorrow."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

from llmbench.bench.cells import Cell
from llmbench.bench.ledger import LedgerState


def forget_older_versions(cells: Sequence[Cell], state: LedgerState) -> list[str]:
    """Leave out answers of a model's older version: they are evidence about another model.

    Versions whose answers came in turns (a provider that rolls one out) are one mixture: nothing is asked
    again.

    Returns:
        What is to be said of it.
    """
    seen: dict[str, dict[str, tuple[str, str]]] = {}  # model -> version -> its first and last time
    known: list[tuple[str, str, str]] = []
    for cell in cells:
        line = state.results.get(cell.fingerprint)
        if line is not None and line.get("model_version"):
            version, at = sys.intern(str(line["model_version"])), str(line.get("timestamp"))
            first, last = seen.setdefault(cell.model, {}).get(version, (at, at))
            seen[cell.model][version] = (min(first, at), max(last, at))
            known.append((cell.fingerprint, cell.model, version))
    newest = {model: max(times, key=times.__getitem__) for model, times in seen.items()}
    mixed = {
        model
        for model, times in seen.items()
        if any(last > times[newest[model]][0] for name, (_, last) in times.items() if name != newest[model])
    }
    older = [(name, m) for name, m, version in known if m not in mixed and version != newest[m]]
    for name, _ in older:
        state.results.forget(name)
    return [
        f"{model} is served in several versions at once ({', '.join(sorted(seen[model]))}): its evidence is "
        "about their mixture"
        for model in sorted(mixed)
    ] + [
        f"{model} changed its version to {newest[model]}: its evidence starts anew, and {n} answers are "
        "asked for again"
        for model, n in Counter(model for _, model in older).items()
    ]
