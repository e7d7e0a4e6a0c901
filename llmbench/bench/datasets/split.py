"""Held-out parts of a dataset: whole clusters, placed by a hash, so that no text is on both sides.

A cluster's place depends on the seed, the shares and its name alone: clusters that come later move no
earlier one. Clusters that hold nearly the same text go together, to the place of the one that stands first in
the file; so do clusters that share the value of the tag that was asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from llmbench.bench.dataset import Dataset, Sample
from llmbench.bench.datasets.chats import Chat, chat_text
from llmbench.bench.datasets.draft import LINEAGE_FILE, Draft, check_name
from llmbench.bench.datasets.texts import NEAR, NearChats
from llmbench.errors import DatasetError
from llmbench.jsonl import read_jsonl
from llmbench.visible import visible

CLUSTER: Final = "cluster"
#: So many merged pairs are said, and stand on a card; of the rest the count.
SHOWN_PAIRS: Final = 10
#: So many prompts tell what the dataset's template is.
_TEMPLATE_SAMPLE: Final = 256
_Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two samples of different clusters whose texts are nearly the same."""

    first: Sample
    second: Sample

    def __str__(self) -> str:
        one, two = self.first, self.second
        return visible(f"{one.id} (cluster {one.cluster}) and {two.id} (cluster {two.cluster})")


@dataclass(frozen=True, slots=True)
class Split:
    """How to part a dataset. `shares` name -> share of the clusters expected in it; they add up to 1.

    `by` is `cluster`, or a tag's key (`channel` for tags such as `channel:CH01`). `near` says what is done
    with clusters that hold nearly the same text.
    """

    shares: Mapping[str, float]
    seed: int = 0
    by: str = CLUSTER
    near: Literal["merge", "refuse"] = "merge"


@dataclass(frozen=True, slots=True)
class Parts:
    """The new datasets by the name of their part, and the pairs whose clusters went together."""

    drafts: Mapping[str, Draft]
    merged: tuple[Pair, ...]


def parse_shares(text: str) -> dict[str, float]:
    """`train=0.8,test=0.2` as numbers.

    Raises:
        DatasetError: it is not written like that, a name is there twice, or the shares do not add up to 1.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition("=")
        try:
            value = float(share)
        except ValueError:
            value = -1.0
        if not 0 < value < 1 or name in shares:
            raise DatasetError(f"--shares {text!r}: `{part}`; write it like train=0.8,test=0.2")
        shares[check_name(name)] = value
    if abs(sum(shares.values()) - 1) > 1e-9:
        raise DatasetError(f"--shares {text!r}: they add up to {sum(shares.values()):g}; make it 1")
    return shares


def place_of(cluster: str, shares: Mapping[str, float], seed: int) -> str:
    """The part that a cluster belongs to."""
    digest = hashlib.sha256(f"split\n{seed}\n{cluster}".encode("utf-8", "backslashreplace")).digest()
    at, reached = int.from_bytes(digest[:8]) / 2**64, 0.0
    for name, share in shares.items():
        reached += share
        if at < reached:
            return name
    return list(shares)[-1]


def near_pairs(
    samples: Sequence[Sample], cluster: Callable[[Sample], Hashable] = lambda sample: sample.cluster
) -> list[Pair]:
    """Pairs of nearly the same text that connect clusters: one for each two that no pair connects yet.

    So there are fewer pairs than clusters, however often a text is repeated.
    """
    texts = [chat_text(Chat(tuple(sample.turns or ()), sample.input)) for sample in samples]
    some = sorted(texts, key=lambda text: hashlib.sha256(repr(text).encode("utf-8", "replace")).digest())
    index = NearChats(NEAR, some[:_TEMPLATE_SAMPLE])
    first: dict[Hashable, int] = {}
    pairs: list[Pair] = []
    for place, (sample, text) in enumerate(zip(samples, texts, strict=True)):
        near = index.join(text, first.get(cluster(sample)))
        first.setdefault(cluster(sample), place)
        pairs += [Pair(samples[other], sample) for other in near]
    return pairs


def split_dataset(folder: Path, dataset: Dataset, split: Split) -> Parts:
    """The parts of a dataset; nothing is written yet.

    Args:
        folder: the dataset's.
        dataset: as it was loaded from there.
        split: how to part it.

    Raises:
        DatasetError: a sample has no such tag, a part would be empty, or clusters hold nearly the same text
            and `near` is `refuse`.
    """
    pairs = near_pairs(dataset.samples)
    if pairs and split.near == "refuse":
        raise DatasetError(
            f"{dataset.name}: nearly the same text in two clusters: {_listed(pairs)}; give them one "
            "cluster, or say --near merge"
        )
    groups = _groups(dataset, split.by, pairs)
    places = {
        sample.id: place_of(groups[sample.cluster], split.shares, split.seed) for sample in dataset.samples
    }
    for name in split.shares:
        if name not in places.values():
            raise DatasetError(
                f"{dataset.name}: no cluster falls into `{name}` ({len(set(groups.values()))} groups of "
                "clusters); choose larger shares or another --seed"
            )
    rows = _lines(folder / "data.jsonl")
    lineage = _lines(folder / LINEAGE_FILE) if (folder / LINEAGE_FILE).exists() else []
    card = _card(dataset)
    drafts = {}
    for name in split.shares:
        mine = {sample_id for sample_id, place in places.items() if place == name}
        drafts[name] = Draft(
            name=check_name(f"{dataset.name}-{name}"),
            rows=[row for row in rows if row["id"] in mine],
            lineage=[line for line in lineage if line.get("sample_id") in mine],
            source=_source(dataset, split, name, pairs),
            **card,
        )
    return Parts(drafts, tuple(pairs))


def _listed(pairs: Sequence[Pair]) -> str:
    more = f", and {len(pairs) - 3} more" if len(pairs) > 3 else ""
    return "; ".join(map(str, pairs[:3])) + more


def _groups(dataset: Dataset, by: str, pairs: Iterable[Pair]) -> dict[str, str]:
    """Cluster -> the name that decides its place: what is linked has the name of its first in file order."""
    links = [(("cluster", pair.first.cluster), ("cluster", pair.second.cluster)) for pair in pairs]
    order: dict[tuple[str, str], None] = {}
    for sample in dataset.samples:
        cluster = ("cluster", sample.cluster)
        if by != CLUSTER:
            tag = ("tag", tag_value(dataset, sample, by))
            order[tag] = None
            links.append((tag, cluster))
        order[cluster] = None
    return {
        name: first for (kind, name), (_, first) in _joined(list(order), links).items() if kind == "cluster"
    }


def tag_value(dataset: Dataset, sample: Sample, key: str) -> str:
    """The value of a sample's tag `key:value`.

    Raises:
        DatasetError: it has none.
    """
    for tag in sample.tags:
        if tag.startswith(f"{key}:"):
            return tag.removeprefix(f"{key}:")
    known = sorted({tag.partition(":")[0] for tag in sample.tags if ":" in tag})
    choices = ", ".join((CLUSTER, *known))
    raise DatasetError(
        f"{dataset.name}: sample {visible(sample.id)} has no tag `{key}:…`; --by takes {choices}"
    )


def _joined(names: Sequence[_Name], links: Iterable[tuple[_Name, _Name]]) -> dict[_Name, _Name]:
    """Name -> the first of all names that links connect it with (union-find)."""
    rank = {name: place for place, name in enumerate(names)}
    parent = {name: name for name in names}

    def root(name: _Name) -> _Name:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for one, two in links:
        first, second = sorted((root(one), root(two)), key=rank.__getitem__)
        parent[second] = first
    return {name: root(name) for name in names}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [line.record for line in read_jsonl(path) if line.record is not None]


def _card(dataset: Dataset) -> dict[str, Any]:
    """What a part's card has from its parent's."""
    system = dataset.prompt.system
    return {
        "version": dataset.version,
        "task": dataset.task,
        "licence": dataset.licence,
        "description": dataset.description,
        "fields": dataset.fields,
        "scorer": {"name": dataset.scorer.name, "params": dict(dataset.scorer.params)},
        "output_schema": dataset.output_schema,
        "system": system if isinstance(system, str) else dict(system),
        "shots": [{"input": asked, "output": told} for asked, told in dataset.prompt.shots],
        "options": dataset.options,
        "modality": dataset.modality,
    }


def _source(dataset: Dataset, split: Split, name: str, pairs: Sequence[Pair]) -> dict[str, Any]:
    return {
        "kind": "split",
        "parent": dataset.name,
        "parent_version": dataset.version,
        "parent_sha256": dataset.sha256,
        "part": name,
        "shares": dict(split.shares),
        "seed": split.seed,
        "by": split.by,
        "merged": [[pair.first.cluster, pair.second.cluster] for pair in pairs[:SHOWN_PAIRS]],
        "merged_pairs": len(pairs),
    }
