"""A look over a dataset: what it holds, what is there twice, what leaks between parts, what is personal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from llmbench.bench.card import CARD_FILE, read_card
from llmbench.bench.dataset import Dataset, Sample, load_dataset
from llmbench.bench.datasets.masking import Masker, Rule
from llmbench.bench.datasets.personal import PERSONAL_RULES
from llmbench.bench.datasets.split import near_pairs
from llmbench.bench.datasets.texts import text_key
from llmbench.bench.scorers import check_dataset, check_params, score, target_text
from llmbench.errors import DatasetError
from llmbench.visible import visible

_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know. A `fault` makes figures wrong, a `notice` may be as it should."""

    level: Literal["fault", "notice"]
    text: str


@dataclass(frozen=True, slots=True)
class Review:
    """Counts of a dataset, and what was found in it."""

    name: str
    samples: int
    clusters: int
    languages: Mapping[str, int]
    targets: int
    findings: tuple[Finding, ...] = ()
    personal: Mapping[str, int] = field(default_factory=dict)

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that make figures wrong."""
        return tuple(finding for finding in self.findings if finding.level == "fault")


def review_dataset(folder: Path, rules: Sequence[Rule] = PERSONAL_RULES) -> Review:
    """Load a dataset and look it over.

    Raises:
        DatasetError: it does not load.
    """
    dataset = load_dataset(folder)
    personal, places = _personal(dataset, rules)
    findings = [
        *_scorer_faults(dataset),
        *_repeats(dataset),
        *_leaks(folder if folder.name != CARD_FILE else folder.parent, dataset),
    ]
    if personal:
        said = ", ".join(f"{count} {name}" for name, count in personal.items())
        findings.append(Finding("notice", f"looks personal or secret: {said} (in {_some(places)})"))
    return Review(
        name=dataset.name,
        samples=len(dataset.samples),
        clusters=len({sample.cluster for sample in dataset.samples}),
        languages=dict(sorted(Counter(sample.lang for sample in dataset.samples).items())),
        targets=sum(sample.target is not None for sample in dataset.samples),
        findings=tuple(findings),
        personal=personal,
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
    return visible(", ".join(names[:_EXAMPLES])) + more


def _scorer_faults(dataset: Dataset) -> Iterator[Finding]:
    """An unknown scorer, and targets that the scorer itself does not give the full score."""
    name = dataset.scorer.name
    low: list[str] = []
    try:
        check_params(name, dataset.scorer.params)
    except DatasetError as error:
        yield Finding("fault", str(error))
        return
    if dataset.modality != "text":
        try:
            check_dataset(dataset)
        except DatasetError as error:
            yield Finding("fault", str(error))
        return
    for sample in dataset.samples:
        if sample.target is None:
            continue
        try:
            got = score(name, dataset.scorer.params, target_text(sample), sample, dataset.output_schema)
        except DatasetError as error:
            yield Finding("fault", str(error))
            return
        if got.value < 1:
            low.append(sample.id)
    if low:
        yield Finding("fault", f"scorer `{name}` gives the own target of {_some(low)} less than 1")


def _repeats(dataset: Dataset) -> Iterator[Finding]:
    """The same text twice, and nearly the same one in two clusters."""
    first: dict[str, Sample] = {}
    again: list[str] = []
    for sample in dataset.samples:
        held = first.setdefault(_key(sample), sample)
        if held is not sample:
            again.append(f"{sample.id} of {held.id}")
    if again:
        yield Finding("notice", f"the same text again: {_some(again)}")
    pairs = near_pairs(dataset.samples)
    if pairs:
        said = _some([str(pair) for pair in pairs])
        yield Finding("notice", f"nearly the same text in two clusters: {said}; they should be one cluster")


def _key(sample: Sample) -> str:
    return text_key((*(text for _, text in sample.turns or ()), sample.input))


def _leaks(folder: Path, dataset: Dataset) -> Iterator[Finding]:
    """What a part shares with the other parts of its parent, and whether the parent is still the same."""
    parent = dataset.source.get("parent")
    if dataset.source.get("kind") != "split" or not isinstance(parent, str):
        return
    for other in sorted(folder.resolve().parent.iterdir()):
        source, sha256 = _source_of(other)
        if other.name == parent and sha256 != dataset.source.get("parent_sha256"):
            yield Finding("notice", f"{parent} changed since it was split; split it again")
        is_sibling = source.get("kind") == "split" and source.get("parent") == parent
        if is_sibling and other != folder.resolve():
            yield from _shared(dataset, load_dataset(other))


def _source_of(folder: Path) -> tuple[Mapping[str, Any], str | None]:
    if not (folder / CARD_FILE).is_file():
        return {}, None
    try:
        card, _ = read_card(folder / CARD_FILE)
    except DatasetError:  # another dataset's mistake is for its own review
        return {}, None
    return card.source or {}, card.sha256


def _shared(dataset: Dataset, other: Dataset) -> Iterator[Finding]:
    clusters = {sample.cluster for sample in dataset.samples} & {sample.cluster for sample in other.samples}
    if clusters:
        yield Finding("fault", f"leak: {other.name} has the clusters {_some(sorted(clusters))} too")
    mine = {id(sample) for sample in dataset.samples}
    pairs = [
        str(pair)
        for pair in near_pairs(
            (*dataset.samples, *other.samples), lambda sample: (id(sample) in mine, sample.cluster)
        )
        if (id(pair.first) in mine) != (id(pair.second) in mine)
    ]
    if pairs:
        yield Finding("fault", f"leak: {other.name} has nearly the same texts: {_some(pairs)}")


def _personal(dataset: Dataset, rules: Sequence[Rule]) -> tuple[dict[str, int], list[str]]:
    """Rule -> how many values it finds in prompts and targets, and the samples where it does."""
    masker, places = Masker(rules), []
    for sample in dataset.samples:
        before = sum(masker.counts.values())
        for text in (*(said for _, said in sample.turns or ()), sample.input):
            masker.mask(text)
        masker.mask_all(sample.target)
        if sum(masker.counts.values()) > before:
            places.append(sample.id)
    return {name: masker.counts[name] for name in masker.rules if masker.counts[name]}, places
