"""The committed datasets: made by their own build script, balanced, short, free of copies and addresses."""

import dataclasses
import itertools
import json
import re
import shutil
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from llmbench.bench.answers import normalise
from llmbench.bench.dataset import load_dataset
from llmbench.bench.scorers import check_dataset, score

ROOT = Path(__file__).parents[1]
FULL = {"fact_extract": 160, "comment_classify": 160}
SHARED = 0.3  # of the trigrams: two sentences of ours lie below, two fillings of one far above
MEDIA = {"narration": {"ja": 24, "en": 16}, "thumbnail_image": {"ja": 8, "en": 8}}
EVERY = sorted(p.parent.name for p in (ROOT / "datasets").glob("*/card.yaml"))
NAMES = [name for name in EVERY if name not in MEDIA]


@pytest.fixture(params=NAMES)
def dataset(request):
    return load_dataset(ROOT / "datasets" / request.param)


@pytest.fixture(params=MEDIA)
def media_dataset(request):
    return load_dataset(ROOT / "datasets" / request.param)


def test_the_six_tasks_are_here():
    assert NAMES == [
        "caption",
        "comment_classify",
        "fact_extract",
        "keyword_extract",
        "runtime_math",
        "translate_line",
    ]


def test_the_media_tasks_are_here_in_both_languages(media_dataset):
    assert Counter(sample.lang for sample in media_dataset.samples) == MEDIA[media_dataset.name]
    assert (media_dataset.name, media_dataset.licence) == (media_dataset.task, "MIT")
    assert set(media_dataset.fields) == {"input", "checks", "tags"}
    assert len({sample.cluster for sample in media_dataset.samples}) == len(media_dataset.samples)
    assert all(sample.tags for sample in media_dataset.samples)
    check_dataset(media_dataset)


def test_lines_to_be_read_aloud_are_hard_in_several_ways():
    samples = load_dataset(ROOT / "datasets" / "narration").samples
    tags = Counter((sample.lang, tag) for sample in samples for tag in sample.tags)
    wanted = ("number", "date", "foreign", "question", "reading", "long")
    assert all(tags[lang, tag] >= 2 for lang in ("en", "ja") for tag in wanted)
    assert sum(bool(re.search(r"\d", s.input)) for s in samples if s.lang == "ja") >= 8
    assert not any(re.search(r"\d", s.input) for s in samples if s.lang == "en"), "a recogniser spells them"


def test_every_caption_of_a_thumbnail_stands_in_its_prompt():
    samples = load_dataset(ROOT / "datasets" / "thumbnail_image").samples
    captions = [(s, s.checks["caption"]) for s in samples if "caption" in s.checks]
    assert len(captions) == 8
    assert all(caption in sample.input for sample, caption in captions)
    assert {sample.checks["aspect_ratio"] for sample in samples} == {"16:9"}


@pytest.mark.parametrize("name", EVERY)
def test_building_again_gives_the_same_bytes(name, tmp_path):
    source = ROOT / "datasets"
    copy = tmp_path / name
    shutil.copy(source / "authoring.py", tmp_path)
    shutil.copytree(source / name, copy)
    (copy / "data.jsonl").unlink()
    card = (copy / "card.yaml").read_text("utf-8")
    (copy / "card.yaml").write_text(re.sub(r"(?m)^(sha256|samples|clusters): .*$", r"\1: 0", card), "utf-8")
    subprocess.run([sys.executable, str(copy / "build.py")], check=True, cwd=tmp_path)
    for file in ("data.jsonl", "card.yaml"):
        assert (copy / file).read_bytes() == (source / name / file).read_bytes()


def test_the_card_names_its_folder_and_gives_the_licence(dataset):
    assert dataset.name == dataset.task
    assert dataset.name in NAMES
    assert dataset.licence == "MIT"
    assert set(dataset.fields) >= {"input", "checks", "tags"}
    if dataset.output_schema is not None:
        assert set(dataset.fields) >= set(dataset.output_schema["properties"])
        assert dataset.output_schema["additionalProperties"] is False
        assert set(dataset.output_schema["required"]) == set(dataset.output_schema["properties"])


def test_there_are_enough_samples_and_clusters(dataset):
    clusters = {s.cluster for s in dataset.samples}
    assert len(dataset.samples) >= FULL.get(dataset.name, 80)
    assert len(clusters) >= FULL.get(dataset.name, 40)
    assert {s.id for s in dataset.samples} == {
        f"{s.id[:2]}-{i:04d}" for i, s in enumerate(dataset.samples, 1)
    }


def test_every_target_scores_one(dataset):
    check_dataset(dataset)


def test_an_echo_of_the_input_pays_next_to_nothing(dataset):
    for sample in dataset.samples:
        got = score(dataset.scorer.name, dataset.scorer.params, sample.input, sample, dataset.output_schema)
        assert got.value == 0, sample.id


def test_any_beginning_of_the_file_has_half_of_each_language(dataset):
    for count in range(1, len(dataset.samples) + 1):
        langs = Counter(s.lang for s in dataset.samples[:count])
        assert abs(langs["ja"] - langs["en"]) <= 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_short_draw_covers_both_languages_and_several_kinds(dataset, seed):
    drawn = dataset.take(24, seed)
    assert min(Counter(s.lang for s in drawn).values()) >= 4
    assert len({tag for s in drawn for tag in s.tags}) >= 4


def test_texts_are_short(dataset):
    for sample in dataset.samples:
        size, limit = (len(sample.input), 60) if sample.lang == "ja" else (len(sample.input.split()), 35)
        assert size <= limit, sample.id


def test_examples_are_few_the_same_for_all_and_not_among_the_samples(dataset):
    shots = dataset.prompt.shots
    assert 2 <= len(shots) <= 10
    assert any(re.search("[ぁ-ん]", text) for text, _ in shots)
    assert any(text.isascii() for text, _ in shots)
    assert not {normalise(text) for text, _ in shots} & {normalise(s.input) for s in dataset.samples}
    prefixes = {json.dumps(dataset.messages(s)[:-1]) for s in dataset.samples}
    assert len(prefixes) == 1


def test_structured_examples_are_one_line_of_json(dataset):
    for _, output in dataset.prompt.shots:
        assert "\n" not in output
        if dataset.output_schema is not None:
            assert output == json.dumps(json.loads(output), ensure_ascii=False)


def grams(text):
    plain = re.sub(r"\d+", "0", normalise(text))
    return {plain[i : i + 3] for i in range(len(plain) - 2)}


@pytest.mark.parametrize("name", EVERY)
def test_no_two_samples_differ_by_numbers_alone(name):
    seen = [(s, grams(s.input)) for s in load_dataset(ROOT / "datasets" / name).samples]
    for (one, left), (two, right) in itertools.combinations(seen, 2):
        if one.lang == two.lang:
            assert len(left & right) / len(left | right) < 0.85, (one.input, two.input)


NAMED = re.compile(
    r"「[^」]*」|(?<!\w)'[^']*'(?!\w)"  # a quoted title
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day|[月火水木金土日]曜|\d[\d,]*",
    re.IGNORECASE,
)


def skeletons(samples):
    """What is left of each text when titles, days, numbers and every name that is a target are one sign."""
    targets = (s.target.values() for s in samples if isinstance(s.target, dict))
    names = sorted({v for values in targets for v in values if isinstance(v, str)}, key=len, reverse=True)
    name = re.compile("|".join(map(re.escape, names)) or r"(?!)")
    for sample in samples:
        yield normalise(name.sub("0", NAMED.sub("0", unicodedata.normalize("NFKC", sample.input))))


def closest(texts):
    """The highest Jaccard similarity of the character trigrams of two of the texts, and the two."""
    seen = [(text, {text[i : i + 3] for i in range(len(text) - 2)}) for text in texts]
    pairs = itertools.combinations(seen, 2)
    return max((len(a & b) / len(a | b), one, two) for (one, a), (two, b) in pairs)


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize("name", sorted(FULL))
def test_no_two_samples_of_a_full_size_set_share_their_base_sentence(name, lang):
    samples = load_dataset(ROOT / "datasets" / name).samples
    assert len({s.cluster for s in samples}) == len(samples)
    kept = [text for text, sample in zip(skeletons(samples), samples, strict=True) if sample.lang == lang]
    assert len(kept) >= 80
    assert closest(kept)[0] < SHARED, closest(kept)


REFILLED = {
    "en": [
        ("Sold out on Friday! 'Tin Rain' in Tampa adds a Sunday show at $56.", "Tampa"),
        ("Sold out on Monday! 'Owl Hour' in Lisbon adds one more Friday show at $1,007.", "Lisbon"),
    ],
    "ja": [
        ("雨のため月曜の「霧の橋」は土曜に延期、仙台で3,900円です。", "仙台"),
        ("雨のため、木曜の「ふくろうの時計塔」は日曜に延期し、宇都宮で800円です。", "宇都宮"),
    ],
}


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_two_fillings_of_one_sentence_are_seen_as_one_even_when_a_word_differs(lang):
    whole = load_dataset(ROOT / "datasets" / "fact_extract").samples
    fillings = [
        dataclasses.replace(whole[0], lang=lang, input=text, target={"city": city})
        for text, city in REFILLED[lang]
    ]
    assert closest(skeletons(fillings))[0] > 2 * SHARED


def test_labels_are_level():
    samples = load_dataset(ROOT / "datasets" / "comment_classify").samples
    counts = Counter((s.lang, s.target["label"]) for s in samples)
    assert len(counts) == 10
    assert set(counts.values()) == {17}


@pytest.mark.parametrize("name", EVERY)
def test_no_address_or_handle_is_in_a_text(name):
    for sample in load_dataset(ROOT / "datasets" / name).samples:
        assert not re.search(r"https?:|www\.|\.com|@|#\w", sample.input), sample.id
