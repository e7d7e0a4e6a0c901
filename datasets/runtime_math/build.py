"""Write runtime_math: each hand-written problem is set twice with other numbers; the answer is computed."""

# ruff: noqa: ARG005, E501  (every answer is given the same three numbers; one text a line)

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from authoring import write

SEED = 1606

# (tag, English, Japanese, ranges of a, b, c, answer). {d} is only there to mislead.
PROBLEMS = [
    (
        "sum",
        "The intro takes {a} seconds, the interview {b} and the credits {c}. How many seconds is the whole video?",
        "冒頭{a}秒、対談{b}秒、終わりの挨拶{c}秒。全部で何秒ですか。",
        ((5, 30), (60, 200), (5, 40)),
        lambda a, b, c: a + b + c,
    ),
    (
        "difference",
        "The raw clip is {b} seconds long. We cut {a} seconds at the start and {c} at the end. How long is it now?",
        "{b}秒の素材から、頭の{a}秒と終わりの{c}秒を切りました。残りは何秒ですか。",
        ((3, 25), (90, 240), (3, 25)),
        lambda a, b, c: b - a - c,
    ),
    (
        "product",
        "We publish {a} videos a week, {b} minutes each. How many minutes is that in {c} weeks?",
        "毎週{a}本、1本{b}分の動画を出します。{c}週で何分になりますか。",
        ((2, 6), (4, 15), (2, 6)),
        lambda a, b, c: a * b * c,
    ),
    (
        "product",
        "{a} cameras record for {b} minutes and fill {c} MB each minute. How many MB do we need in all?",
        "カメラ{a}台で{b}分撮り、1分に{c}MB使います。全部で何MB必要ですか。",
        ((2, 5), (5, 20), (10, 40)),
        lambda a, b, c: a * b * c,
    ),
    (
        "mixed",
        "A subtitler earns ${a} a minute of video. She did {b} minutes, and {c} more today. What does she earn?",
        "字幕は1分{a}円です。{b}分と、今日さらに{c}分を仕上げました。報酬は何円ですか。",
        ((3, 12), (10, 40), (5, 20)),
        lambda a, b, c: a * (b + c),
    ),
    (
        "mixed",
        "The budget is ${c}00. We rent {a} lights at ${b} each. How many dollars are left?",
        "予算は{c}00円です。1個{b}円の電球を{a}個買うと、残りは何円ですか。",
        ((2, 5), (20, 60), (4, 12)),
        lambda a, b, c: c * 100 - a * b,
    ),
    (
        "division",
        "{a} editors share {b} clips equally; each finished {c}. How many clips are left for each editor?",
        "{b}本の素材を{a}人で等しく分け、各自{c}本を終えました。1人あたり残りは何本ですか。",
        ((2, 6), (6, 12), (1, 5)),
        lambda a, b, c: b - c,
    ),
    (
        "percent",
        "Of {b} viewers, {a} percent stayed to the end. How many viewers stayed?",
        "視聴者{b}人のうち{a}％が最後まで見ました。何人ですか。",
        ((2, 9), (2, 9), (1, 9)),
        lambda a, b, c: a * b * 10,
    ),
    (
        "time",
        "A film of {a} minutes starts at 18:{b}. At how many minutes past 19:00 does it end?",
        "{a}分の映画が18時{b}分に始まります。終わるのは19時何分ですか。",
        ((45, 60), (20, 50), (1, 9)),
        lambda a, b, c: a + b - 60,
    ),
    (
        "time",
        "The video runs {a} minutes and {b} seconds. How many seconds is that?",
        "動画の長さは{a}分{b}秒です。何秒ですか。",
        ((2, 12), (5, 55), (1, 9)),
        lambda a, b, c: a * 60 + b,
    ),
    (
        "speed",
        "A {b} minute lecture is played at double speed, then a {a} minute talk at normal speed. How many minutes?",
        "{b}分の講義を2倍速で見て、続けて{a}分の対談を等速で見ます。何分かかりますか。",
        ((5, 25), (20, 80), (1, 9)),
        lambda a, b, c: b // 2 + a,
    ),
    (
        "distractor",
        "Our {d} fans asked for it: {a} new episodes of {b} minutes. How many minutes do we have to film?",
        "{d}人の要望で、{b}分の新作を{a}本作ります。撮るのは合計何分ですか。",
        ((3, 9), (6, 25), (1, 9)),
        lambda a, b, c: a * b,
    ),
    (
        "distractor",
        "Tape {d} holds {b} scenes. {a} are bad and {c} have no sound. How many scenes can we use?",
        "テープ{d}番には{b}場面あり、{a}場面は失敗、{c}場面は無音です。使えるのは何場面ですか。",
        ((2, 9), (25, 60), (2, 9)),
        lambda a, b, c: b - a - c,
    ),
    (
        "distractor",
        "In {d} minutes of stream, {a} viewers gave ${b} each and one gave ${c}. How many dollars came in?",
        "{d}分の配信で{a}人が{b}円ずつ、別の1人が{c}円を送りました。合計は何円ですか。",
        ((3, 9), (5, 20), (30, 90)),
        lambda a, b, c: a * b + c,
    ),
    (
        "chain",
        "The channel had {b} subscribers, won {c} and lost {a}. How many does it have?",
        "登録者{b}人の番組に{c}人が加わり、{a}人がやめました。いま何人ですか。",
        ((10, 60), (200, 900), (70, 180)),
        lambda a, b, c: b + c - a,
    ),
    (
        "chain",
        "We wrote {b} pages, dropped {a}, then doubled what was left. How many pages are there?",
        "台本を{b}枚書き、{a}枚を捨て、残りを2倍に増やしました。何枚になりましたか。",
        ((2, 9), (14, 40), (1, 9)),
        lambda a, b, c: (b - a) * 2,
    ),
    (
        "rate",
        "The narrator reads {a} words a second. She reads for {b} seconds and rests {c}. How many words were read?",
        "語り手は1秒に{a}文字読みます。{b}秒読んで{c}秒休みました。読んだのは何文字ですか。",
        ((2, 6), (20, 60), (5, 15)),
        lambda a, b, c: a * b,
    ),
    (
        "rate",
        "Rendering takes {a} minutes per clip. {b} clips are done of {c} clips. How many minutes are still needed?",
        "書き出しは1本{a}分です。{c}本のうち{b}本が済みました。あと何分かかりますか。",
        ((3, 9), (3, 9), (12, 20)),
        lambda a, b, c: (c - b) * a,
    ),
    (
        "half",
        "Half of our {b} photos are blurred, and {a} sharp ones are too dark. How many good photos are there?",
        "写真{b}枚の半分はぶれ、ぶれていない{a}枚は暗すぎます。使えるのは何枚ですか。",
        ((2, 9), (20, 60), (1, 9)),
        lambda a, b, c: b // 2 - a,
    ),
    (
        "extra",
        "Each of {a} trailers has {b} shots, and the last one has {c} extra. How many shots are there in all?",
        "予告編{a}本は各{b}カット、最後の1本だけさらに{c}カット多いです。全部で何カットですか。",
        ((2, 6), (8, 20), (2, 9)),
        lambda a, b, c: a * b + c,
    ),
    (
        "fee",
        "The studio costs ${b} an hour plus ${c} for cleaning. What do {a} hours cost in dollars?",
        "スタジオは1時間{b}00円、清掃は一律{c}00円です。{a}時間借りると何円ですか。",
        ((2, 6), (12, 45), (10, 30)),
        lambda a, b, c: a * b + c,
    ),
]
EVEN = {"speed", "half"}


def numbers(tag, ranges, rng):
    a, b, c = (rng.randint(*limits) for limits in ranges)
    if tag in EVEN:
        b += b % 2
    return {"a": a, "b": b, "c": c, "d": rng.choice([35, 48, 120, 150, 240, 300])}


def fill(tag, text, ranges, answer, rng):
    """The problem's text and its answer, in whole numbers."""
    n = numbers(tag, ranges, rng)
    value = answer(n["a"], n["b"], n["c"])
    shown = dict(n)
    if tag == "division":
        shown["b"] = n["a"] * n["b"]
    if tag == "percent":
        shown |= {"a": n["a"] * 10, "b": n["b"] * 100}
    if tag == "fee" and "00円" in text:
        value *= 100
    return text.format(**shown), value


def rows():
    for index, (tag, en, ja, ranges, answer) in enumerate(PROBLEMS):
        rng = random.Random(f"{SEED} {index}")
        for lang, text in (("en", en), ("ja", ja)):
            for _ in range(2):
                line, value = fill(tag, text, ranges, answer, rng)
                row = {"lang": lang, "input": line, "target": {"answer": value}, "tags": [tag]}
                yield row | {"source": f"{lang} {index}"}


if __name__ == "__main__":
    write(Path(__file__).parent, "rm", list(rows()), SEED)
