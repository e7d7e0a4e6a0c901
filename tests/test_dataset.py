"""A dataset loads as it was written, or is refused with the place of the mistake."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.bench.dataset import Dataset, load_dataset
from llmbench.errors import DatasetError

ROOT = Path(__file__).parents[1]
ROWS = [
    {"id": "a-1", "lang": "en", "cluster": "a-1", "input": "Two cats.", "target": {"n": 2}, "tags": ["x"]},
    {
        "id": "a-2",
        "lang": "ja",
        "cluster": "a-2",
        "input": "猫が三匹。",
        "target": {"n": 3},
        "checks": {"k": 1},
    },
    {"id": "a-3", "lang": "en", "cluster": "a-3", "input": "Four dogs.", "target": {"n": 4}},
]
CARD = """name: pets
version: "1.0"
licence: MIT
task: count
languages: [en, ja]
description: counts
sha256: {sha256}
samples: {samples}
clusters: {clusters}
fields: {{input: text, n: number}}
scorer:
  name: numeric
  params: {{field: n}}
output_schema:
  type: object
  properties: {{n: {{type: integer}}}}
  required: [n]
  additionalProperties: false
prompt:
  system: Count.
  shots:
    - input: One cow.
      output: '{{"n": 1}}'
options: {{max_tokens: 8, stop: ["\\n"], temperature: 0, seed: 1}}
"""


def lines_of(rows):
    return b"".join(json.dumps(r, ensure_ascii=False).encode() + b"\n" for r in rows)


@pytest.fixture
def write(tmp_path):
    """Writes a dataset with a card that fits the data, then applies replacements to the card's text."""

    def _write(rows=ROWS, raw=None, replace=(), folder=tmp_path):
        data = lines_of(rows) if raw is None else raw
        (folder / "data.jsonl").write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        card = CARD.format(sha256=sha256, samples=len(rows), clusters=len({r["cluster"] for r in rows}))
        for old, new in replace:
            assert old in card
            card = card.replace(old, new)
        (folder / "card.yaml").write_text(card, "utf-8")
        return folder

    return _write


def refused(folder):
    with pytest.raises(DatasetError) as caught:
        load_dataset(folder)
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(str(folder) + "/", "")


def test_a_dataset_loads_as_it_was_written(write):
    dataset = load_dataset(write())
    assert [s.id for s in dataset.samples] == ["a-1", "a-2", "a-3"]
    assert dataset.samples[1].checks == {"k": 1}
    assert dataset.samples[0].tags == ("x",)
    assert dataset.options == {"max_tokens": 8, "stop": ["\n"], "temperature": 0, "seed": 1}
    assert (dataset.name, dataset.version, dataset.task, dataset.scorer.name) == (
        "pets",
        "1.0",
        "count",
        "numeric",
    )


def test_the_folder_and_the_card_name_the_same_dataset(write):
    folder = write()
    assert load_dataset(folder / "card.yaml") == load_dataset(str(folder))


def test_a_dataset_cannot_be_changed(write):
    dataset = load_dataset(write())
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.samples[0].id = "b"
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "b"
    assert len({*dataset.samples, dataset.samples[0]}) == 3


def test_messages_are_system_examples_and_the_input(write):
    dataset = load_dataset(write())
    assert dataset.messages(dataset.samples[1]) == [
        {"role": "system", "content": "Count."},
        {"role": "user", "content": "One cow."},
        {"role": "assistant", "content": '{"n": 1}'},
        {"role": "user", "content": "猫が三匹。"},
    ]


def test_a_card_may_have_a_system_text_for_each_language(write):
    dataset = load_dataset(write(replace=[("system: Count.", "system: {en: Count., ja: 数えて。}")]))
    assert [dataset.messages(s)[0]["content"] for s in dataset.samples] == ["Count.", "数えて。", "Count."]
    text = refused(write(replace=[("system: Count.", "system: {en: Count.}")]))
    assert text == "card.yaml:20: prompt.system has no `ja`; add it, or use one text for all"


def test_the_hash_of_a_sample_follows_its_content_alone(write):
    first = load_dataset(write()).samples
    shuffled = [dict(reversed(r.items())) for r in reversed(ROWS)]
    again = {s.id: s.sha256 for s in load_dataset(write(shuffled)).samples}
    assert again == {s.id: s.sha256 for s in first}
    for key, value in {"input": "Two  cats.", "target": {"n": 5}, "checks": {"z": 0}, "tags": []}.items():
        changed = load_dataset(write([ROWS[0] | {key: value}, *ROWS[1:]])).samples[0]
        assert changed.sha256 != first[0].sha256, key


def test_changed_data_under_an_old_card_is_refused(write):
    folder = write()
    data = folder / "data.jsonl"
    data.write_bytes(data.read_bytes().replace(b'"n": 4', b'"n": 5'))
    text = refused(folder)
    assert text.startswith("data.jsonl: its sha256 is ")
    assert "card.yaml:7 declares" in text
    assert "new version" in text


def test_counts_that_the_data_lacks_are_refused(write):
    text = refused(write(replace=[("samples: 3", "samples: 4")]))
    assert text == "card.yaml:8: samples is 4, but the data has 3; correct it"
    assert refused(write(replace=[("clusters: 3", "clusters: 1")])).startswith("card.yaml:9: clusters is 1")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "x"', "data.jsonl:2: not JSON ("),
        (b"\xff\xfe", "data.jsonl:2: not UTF-8; save the file as UTF-8"),
        (b"", "data.jsonl:2: not JSON ("),
        (b"[" * 200_000, "data.jsonl:2: not JSON ("),
        (b"[]", "data.jsonl:2: `the value`: "),
        (
            lines_of([ROWS[1] | {"target": {"n": float("nan")}}])[:-1],
            "data.jsonl:2: not JSON (NaN is not JSON)",
        ),
        (lines_of([ROWS[1] | {"target": {"n": float("inf")}}])[:-1], "data.jsonl:2: not JSON (Infinity"),
        (lines_of([ROWS[1] | {"id": "a-1"}])[:-1], "data.jsonl:2: id `a-1` is already on line 1"),
        (lines_of([ROWS[1] | {"lang": "fr"}])[:-1], "data.jsonl:2: lang `fr` is not among"),
        (lines_of([ROWS[1] | {"id": 7}])[:-1], "data.jsonl:2: `id`: "),
        (
            lines_of([ROWS[1] | {"clusters": "q"}])[:-1],
            "data.jsonl:2: unknown key `clusters`; did you mean `cluster`?",
        ),
        (lines_of([ROWS[1] | {"target": {"n": "3"}}])[:-1], "data.jsonl:2: the target breaks output_schema"),
        (
            lines_of([{k: v for k, v in ROWS[1].items() if k != "target"}])[:-1],
            "data.jsonl:2: `target` is missing; add it",
        ),
        (
            lines_of([ROWS[1] | {"input": "Ｔｗｏ  cats."}])[:-1],
            "data.jsonl:2: the text of line 1 again, in cluster `a-2`, not `a-1`",
        ),
    ],
)
def test_a_wrong_line_is_named(write, line, message):
    first, _, third = lines_of(ROWS).split(b"\n")[:3]
    assert refused(write(raw=b"\n".join([first, line, third, b""]))).startswith(message)


def test_an_empty_file_is_refused(write):
    assert refused(write(raw=b"")).startswith("data.jsonl:1: no samples")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("licence: MIT", "license: MIT", "card.yaml:3: unknown key `license`; did you mean `licence`?"),
        ("licence: MIT\n", "", "card.yaml:1: `licence` is missing; add it"),
        ('version: "1.0"', "version: 1.0", "card.yaml:2: `version`: Input should be a valid string"),
        (
            "  params: {field: n}",
            "  param: {field: n}",
            "card.yaml:13: unknown key `scorer.param`; did you mean `params`?",
        ),
        (
            "max_tokens: 8",
            "max_token: 8",
            "card.yaml:24: unknown key `options.max_token`; did you mean `max_tokens`?",
        ),
        ("task: count", "task: count\ntask: two", "card.yaml:5: `task` is already on line 4; remove one"),
        ("description: counts", "description: &a counts\nlicence: *a", "card.yaml:"),
        ("type: object", "type: objekt", "card.yaml:14: not a JSON Schema"),
        ("""'{"n": 1}'""", "one", "card.yaml:22: an example's output is not JSON"),
        ("""'{"n": 1}'""", """'{"n": "1"}'""", "card.yaml:22: an example's output breaks output_schema"),
        ("name: pets", "name: [pets", "card.yaml:"),
        ("name: pets", "name: !!python/name:os.system pets", "card.yaml:1: not YAML"),
        (
            "    - input: One cow.",
            "    - inputs: One cow.",
            "card.yaml:22: unknown key `prompt.shots.0.inputs`; did you",
        ),
    ],
)
def test_a_wrong_card_is_named(write, old, new, message):
    assert refused(write(replace=[(old, new)])).startswith(message)


def test_a_missing_file_is_named(tmp_path, write):
    assert refused(tmp_path).startswith("card.yaml: cannot be read (No such file")
    (write() / "data.jsonl").unlink()
    assert refused(tmp_path).startswith("data.jsonl: cannot be read")


def many(sizes, write, folder):
    rows = []
    for c, (lang, size) in enumerate(sizes):
        for i in range(size):
            name = f"c{c}-{i}"
            rows.append({"id": name, "lang": lang, "cluster": f"c{c}", "input": name, "target": {"n": i}})
    return load_dataset(write(rows, folder=folder))


SIZES = st.lists(st.tuples(st.sampled_from(["en", "ja"]), st.integers(1, 4)), min_size=1, max_size=12)


@given(sizes=SIZES, seed=st.integers(0, 99), limits=st.tuples(st.integers(1, 40), st.integers(1, 40)))
@settings(max_examples=40, deadline=None)
def test_a_shorter_draw_is_a_prefix_of_a_longer_one(sizes, seed, limits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("d")
    dataset = many(sizes, _writer, folder)
    short, long = sorted(limits)
    drawn = dataset.take(long, seed)
    assert dataset.take(short, seed) == drawn[:short]
    assert set(dataset.take(None, seed)) == set(dataset.samples)
    assert len(dataset.take(None, seed)) == len(dataset.samples)


def _writer(rows, folder):
    data = lines_of(rows)
    card = CARD.format(
        sha256=hashlib.sha256(data).hexdigest(), samples=len(rows), clusters=len({r["cluster"] for r in rows})
    )
    (folder / "data.jsonl").write_bytes(data)
    (folder / "card.yaml").write_text(card, "utf-8")
    return folder


def test_a_draw_keeps_clusters_together(tmp_path):
    dataset = many([("en", 2), ("ja", 2)] * 10, _writer, tmp_path)
    drawn = dataset.take(12, seed=3)
    assert set(Counter(s.cluster for s in drawn).values()) == {2}
    assert [a.cluster for a in drawn[::2]] == [b.cluster for b in drawn[1::2]]


def test_the_next_cluster_of_a_draw_is_a_random_one_whatever_the_language_before(tmp_path):
    dataset = many([("en", 1), ("ja", 1)] * 10, _writer, tmp_path)
    orders = [[sample.lang for sample in dataset.take(None, seed)] for seed in range(200)]
    after_ja = [order[1] for order in orders if order[0] == "ja"]
    assert 0.3 < sum(lang == "ja" for lang in after_ja) / len(after_ja) < 0.65  # 9/19; levelled it would be 0


def test_another_seed_gives_another_order_of_the_same_samples(tmp_path):
    dataset = many([("en", 1), ("ja", 1)] * 10, _writer, tmp_path)
    one, two = dataset.take(None, 1), dataset.take(None, 2)
    assert one != two
    assert set(one) == set(two)
    assert one == load_dataset(tmp_path).take(None, 1)


def test_the_order_of_the_file_does_not_matter_to_a_draw(tmp_path):
    sizes = [("en", 1), ("ja", 1)] * 6
    dataset = many(sizes, _writer, tmp_path)
    backwards = dataclasses.replace(dataset, samples=tuple(reversed(dataset.samples)))
    assert backwards.take(5, 8) == dataset.take(5, 8)


def test_a_draw_of_nothing_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="limit is 0; use a number"):
        many([("en", 1)], _writer, tmp_path).take(0, 1)


def test_loading_a_dataset_imports_no_tables(write):
    code = (
        "import sys, llmbench.bench.dataset as d; d.load_dataset(sys.argv[1]); print('pandas' in sys.modules)"
    )
    folder = shutil.copytree(write(), write().parent / "copy", dirs_exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "False\n"


def test_dataset_is_a_plain_value(write):
    import pickle

    dataset = load_dataset(write())
    assert isinstance(dataset, Dataset)
    assert pickle.loads(pickle.dumps(dataset)) == dataset  # noqa: S301
