"""Held-out parts: whole clusters by a hash, near-duplicates on one side, and a look that finds leaks."""

import json
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from llmbench.bench.dataset import load_dataset
from llmbench.bench.datasets.draft import Draft, write_dataset
from llmbench.bench.datasets.review import review_dataset
from llmbench.bench.datasets.split import Split, parse_shares, place_of, split_dataset
from llmbench.cli import app
from llmbench.errors import DatasetError

SHARES = {"train": 0.8, "test": 0.2}
WORDS = "river stone glaze wind village singers morning train paper lantern festival harbour".split()  # noqa: SIM905
KANJI = "猫川石山村朝電車光紙提灯祭港釉薬風歌手雪庭茶碗"


def text_of(number):
    draw = random.Random(number)
    if number % 2:
        return " ".join(draw.choice(WORDS) + str(draw.randint(0, 999)) for _ in range(20))
    return "".join(draw.choice(KANJI) + str(draw.randint(0, 99)) for _ in range(30)) + "です。"


def row(number, cluster, text=None, **other):
    lang = "en" if number % 2 else "ja"
    base = {"id": f"s{number:04}", "lang": lang, "cluster": cluster, "input": text or text_of(number)}
    return {**base, "target": "ok", "checks": {}, "tags": [f"channel:CH{number % 4}"], **other}


def dataset_of(folder, rows, **other):
    draft = Draft(
        name=folder.name,
        task="t",
        rows=rows,
        description="d",
        source={"kind": "file"},
        scorer={"name": "exact"},
        options={"max_tokens": 8},
        **other,
    )
    return write_dataset(draft, folder)


@pytest.fixture
def parent(tmp_path):
    rows = [row(number, f"doc{number // 3}") for number in range(150)]
    lineage = [{"sample_id": one["id"], "call_id": f"c-{one['id']}"} for one in rows]
    dataset_of(tmp_path / "pets", rows, lineage=lineage)
    return tmp_path / "pets"


def parts_of(folder, **chosen):
    return split_dataset(folder, load_dataset(folder), Split(**{"shares": SHARES, **chosen}))


def test_parts_hold_whole_clusters_and_together_every_sample(parent):
    drafts = parts_of(parent).drafts
    clusters = [{one["cluster"] for one in draft.rows} for draft in drafts.values()]
    assert not clusters[0] & clusters[1]
    assert sum(len(draft.rows) for draft in drafts.values()) == 150
    assert 0.6 < len(drafts["train"].rows) / 150 < 0.95


def test_a_part_loads_names_its_parent_and_keeps_prompt_and_lineage(parent):
    dataset = load_dataset(parent)
    draft = parts_of(parent).drafts["test"]
    part = write_dataset(draft, parent.parent / draft.name)
    assert part.name == "pets-test"
    assert (part.source["parent"], part.source["parent_sha256"]) == ("pets", dataset.sha256)
    assert {sample.sha256 for sample in part.samples} < {sample.sha256 for sample in dataset.samples}
    text = (parent.parent / "pets-test" / "lineage.jsonl").read_text("utf-8")
    lineage = [json.loads(line) for line in text.splitlines()]
    assert [line["sample_id"] for line in lineage] == [sample.id for sample in part.samples]


@given(st.sets(st.text(max_size=12), min_size=1), st.sets(st.text(max_size=12)), st.integers())
def test_new_clusters_never_move_old_ones(old, new, seed):
    before = {name: place_of(name, SHARES, seed) for name in old}
    after = {name: place_of(name, SHARES, seed) for name in sorted(old | new)}
    assert before == {name: after[name] for name in old}


def test_samples_that_come_later_move_none_of_the_earlier_ones(tmp_path):
    rows = [row(number, f"doc{number}") for number in range(60)]
    dataset_of(tmp_path / "a", rows)
    later = [row(number, f"doc{number}") for number in range(60, 90)]
    copies = [row(90 + number, f"aaa{number}", rows[number]["input"] + "!") for number in range(10)]
    dataset_of(tmp_path / "b", [*rows, *later, *copies])
    places = [
        {one["id"]: name for name, draft in parts_of(tmp_path / folder).drafts.items() for one in draft.rows}
        for folder in "ab"
    ]
    assert places[0] == {name: places[1][name] for name in places[0]}
    assert all(places[1][f"s{90 + number:04}"] == places[1][f"s{number:04}"] for number in range(10))


@given(st.integers(0, 10_000))
def test_shares_are_kept_on_average(seed):
    placed = [place_of(f"c{number}", {"a": 0.5, "b": 0.3, "c": 0.2}, seed) for number in range(400)]
    assert 0.35 < placed.count("a") / 400 < 0.65
    assert 0.1 < placed.count("c") / 400 < 0.3


def test_nearly_the_same_text_in_two_clusters_goes_to_one_part_or_is_refused_with_names(tmp_path):
    rows = [row(number, f"doc{number}") for number in range(40)]
    rows += [row(40 + number, f"copy{number}", text_of(number) + " です") for number in range(20)]
    dataset_of(tmp_path / "near", rows)
    parts = parts_of(tmp_path / "near")
    assert len(parts.merged) == 20
    for draft in parts.drafts.values():
        ids = {one["id"] for one in draft.rows}
        assert all((f"s{n:04}" in ids) == (f"s{40 + n:04}" in ids) for n in range(20))
    with pytest.raises(DatasetError, match=r"s0000 \(cluster doc0\) and s0040 \(cluster copy0\)"):
        parts_of(tmp_path / "near", near="refuse")


def test_many_near_repeats_are_linked_by_one_pair_each_and_ten_are_shown(tmp_path):
    rows = [row(number, f"doc{number}", text_of(1) + f" {number:04}") for number in range(700)]
    rows += [row(number, f"doc{number}") for number in range(700, 1700)]
    dataset_of(tmp_path / "many", rows)
    began = time.process_time()
    parts = parts_of(tmp_path / "many")
    assert time.process_time() - began < 10
    assert len(parts.merged) == 699
    source = next(iter(parts.drafts.values())).source
    assert (len(source["merged"]), source["merged_pairs"]) == (10, 699)
    base = ["dataset", "split", "many", "--dry-run", "--datasets", str(tmp_path)]
    said = CliRunner().invoke(app, base).output
    assert said.count("went together: ") == 10
    assert "689 more pairs" in said


def test_a_split_by_channel_keeps_channels_and_clusters_whole(tmp_path):
    rows = [row(number, f"doc{number}") for number in range(80)]
    rows.append(row(81, "doc0"))  # one document on two channels ties them
    dataset_of(tmp_path / "ch", rows)
    for seed in range(5):
        try:
            drafts = parts_of(tmp_path / "ch", by="channel", seed=seed, shares={"a": 0.5, "b": 0.5}).drafts
        except DatasetError as error:
            assert "no cluster falls into" in str(error)  # noqa: PT017
            continue
        channels = [{one["tags"][0] for one in draft.rows} for draft in drafts.values()]
        assert not channels[0] & channels[1]
        assert any({"channel:CH0", "channel:CH1"} <= found for found in channels)


def test_a_tag_that_is_not_there_is_refused_with_those_that_are(parent):
    with pytest.raises(
        DatasetError, match=r"sample s0000 has no tag `chanel:…`; --by takes cluster, channel"
    ):
        parts_of(parent, by="chanel")


def test_a_part_that_would_be_empty_is_refused(tmp_path):
    dataset_of(tmp_path / "one", [row(number, "only") for number in range(3)])
    with pytest.raises(DatasetError, match=r"no cluster falls into `\w+` \(1 groups of clusters\)"):
        parts_of(tmp_path / "one")


@pytest.mark.parametrize(
    "text", ["train", "a=0.5,b=0.4", "a=0.5,a=0.5", "a=1.5,b=-0.5", "../a=0.5,b=0.5", ""]
)
def test_shares_that_make_no_sense_are_refused(text):
    with pytest.raises(DatasetError):
        parse_shares(text)


# ---- the look over a dataset ---------------------------------------------------------------------------


def texts_of(review):
    return [f"{finding.level}: {finding.text}" for finding in review.findings]


def test_a_clean_dataset_has_no_findings(parent):
    review = review_dataset(parent)
    assert texts_of(review) == []
    assert (review.samples, review.clusters, review.languages, review.targets) == (
        150,
        50,
        {"en": 75, "ja": 75},
        150,
    )


def test_repeats_personal_data_and_low_targets_are_found(tmp_path):
    rows = [row(number, f"doc{number}") for number in range(6)]
    rows += [row(10, "doc0", rows[0]["input"] + "！"), row(12, "doc9", rows[2]["input"] + "よ")]
    rows += [row(14, "doc14", "連絡は taro@example.jp へ"), row(15, "doc15", target="…")]
    dataset_of(tmp_path / "dirty", rows)
    found = texts_of(review_dataset(tmp_path / "dirty"))
    pair = "s0002 (cluster doc2) and s0012 (cluster doc9)"
    assert found == [
        "fault: scorer `exact` gives the own target of s0015 less than 1",
        "notice: the same text again: s0010 of s0000",
        f"notice: nearly the same text in two clusters: {pair}; they should be one cluster",
        "notice: looks personal or secret: 1 email (in s0014)",
    ]


def test_a_leak_between_parts_is_a_fault(parent):
    for draft in parts_of(parent).drafts.values():
        write_dataset(draft, parent.parent / draft.name)
    test = parent.parent / "pets-test"
    assert texts_of(review_dataset(test)) == []
    train = load_dataset(parent.parent / "pets-train")
    stolen = train.samples[0]
    draft = parts_of(parent).drafts["test"]
    rows = [*draft.rows, row(900, "new", stolen.input + " です"), row(901, stolen.cluster)]
    leaky = Draft(
        **{name: getattr(draft, name) for name in Draft.__slots__} | {"rows": rows, "name": "pets-late"}
    )
    write_dataset(leaky, parent.parent / "pets-late")
    found = [text for text in texts_of(review_dataset(parent.parent / "pets-late")) if "pets-train" in text]
    assert found[0] == f"fault: leak: pets-train has the clusters {stolen.cluster} too"
    assert "s0900 (cluster new)" in found[1]


def test_the_commands_split_and_check(parent):
    base = ["--datasets", str(parent.parent)]
    dry = CliRunner().invoke(app, ["dataset", "split", "pets", "--dry-run", "--json", *base])
    assert dry.exit_code == 0, dry.output
    assert sum(part["samples"] for part in json.loads(dry.stdout)["parts"]) == 150
    assert not (parent.parent / "pets-test").exists()
    done = CliRunner().invoke(app, ["dataset", "split", "pets", *base])
    assert done.exit_code == 0, done.output
    other = CliRunner().invoke(app, ["dataset", "split", "pets", "--seed", "5", *base])
    assert other.exit_code == 1
    assert "exists and is not the same dataset" in other.output.replace("\n", "")
    checked = CliRunner().invoke(app, ["dataset", "check", "pets-test", "--strict", *base])
    assert checked.exit_code == 0, checked.output
    assert "0 faults, 0 notices" in checked.stdout
    assert CliRunner().invoke(app, ["dataset", "check", "nowhere", *base]).exit_code == 1
