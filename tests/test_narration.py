"""Scripts in pieces: cut where a reader would pause, nothing lost, nothing over the limit."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import ParamError
from llmbench.graphemes import boundaries
from llmbench.narration import inner_stops, split_text

FAMILY = "👨\u200d👩\u200d👧\u200d👦"


def sentences(text: str) -> list[str]:
    return split_text(text, 10_000, by_sentence=True)


def inked(text: str) -> str:
    """A text without its white space."""
    return "".join(text.split())


def letters(text: str) -> str:
    """What a voice has something to say of."""
    return "".join(filter(str.isalnum, text))


# ---- where a sentence ends


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("こんにちは。元気？はい！", ["こんにちは。", "元気？", "はい！"]),
        ("え！？本当！！行こう", ["え！？", "本当！！", "行こう"]),
        ("半角｡です．次", ["半角｡", "です．", "次"]),
        ("すごい!次は?はい", ["すごい!", "次は?", "はい"]),
        ("続き…でも、終わり……。次", ["続き…でも、終わり……。", "次"]),
        (
            "今日は「いい天気。散歩しよう！」と言った。次",
            ["今日は「いい天気。散歩しよう！」と言った。", "次"],
        ),
        ("『一。二。』『三。』四", ["『一。二。』", "『三。』", "四"]),
        ("（注。）本文。", ["（注。）", "本文。"]),
        ("「彼は『はい。』と言った。」終", ["「彼は『はい。』と言った。」", "終"]),
        ("円周率は3.14です。３．１４でも。", ["円周率は3.14です。", "３．１４でも。"]),
        ("一行目\n二行目\r\n三行目", ["一行目", "二行目", "三行目"]),
        ("閉じない「引用。次", ["閉じない「引用。", "次"]),
        ("「閉じない（一。二。」三", ["「閉じない（一。二。」", "三"]),
        ("Ver.２を使う。次", ["Ver.２を使う。", "次"]),
        ("結果を示す．１つ目は", ["結果を示す．", "１つ目は"]),
        ("10．りんご。11．みかん。", ["10．りんご。", "11．みかん。"]),
        ("2.りんご 3.みかん。", ["2.りんご 3.みかん。"]),
        ("node.jsはversion 3.です。次", ["node.jsはversion 3.です。", "次"]),
        ("Yahoo!ニュースとYahoo！天気。次", ["Yahoo!ニュースとYahoo！天気。", "次"]),
        ("モーニング娘。の新曲だ。次", ["モーニング娘。の新曲だ。", "次"]),
        ("行く？はい。はじめよう。のち晴れ。", ["行く？", "はい。", "はじめよう。", "のち晴れ。"]),
        ('彼は"はい。そうです。"と言った。次', ['彼は"はい。そうです。"と言った。', "次"]),
    ],
)
def test_japanese_sentences_end_at_their_marks(text, expected):
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It works. Does it? Yes!", ["It works.", "Does it?", "Yes!"]),
        ("Mr. Smith met Dr. J. Doe. They left.", ["Mr. Smith met Dr. J. Doe.", "They left."]),
        ("See e.g. the U.S. Then stop.", ["See e.g. the U.S. Then stop."]),
        ("Pi is 3.14. Version 2.0 is out.", ["Pi is 3.14.", "Version 2.0 is out."]),
        ("Well... maybe. So… no.", ["Well... maybe.", "So… no."]),
        ("Wait...! Go.", ["Wait...!", "Go."]),
        (
            '"Is it so?" he asked. "Yes." Then (late.) Gone.',
            ['"Is it so?" he asked.', '"Yes."', "Then (late.)", "Gone."],
        ),
        ("“One. Two.” Three.", ["“One. Two.”", "Three."]),
        ("No. It is not. No. 5 is.", ["No.", "It is not.", "No. 5 is."]),
        ("1. First. 2. Second.", ["1. First.", "2. Second."]),
        ("It was I. Then came 2024. Now.", ["It was I.", "Then came 2024.", "Now."]),
        ("Read a.b.com/x?y=1! Now", ["Read a.b.com/x?y=1!", "Now"]),
        ("English. 日本語です。Mixed.次。", ["English.", "日本語です。", "Mixed.", "次。"]),
        ("See p. 12 and pp. 13. Stop.", ["See p. 12 and pp. 13.", "Stop."]),
        ("Sect. 3 says so. He paid Rs. 500. Done.", ["Sect. 3 says so.", "He paid Rs. 500.", "Done."]),
        ("No. 5 is best. Is it? No. Yes.", ["No. 5 is best.", "Is it?", "No.", "Yes."]),
    ],
)
def test_english_sentences_end_at_their_marks_and_not_at_abbreviations(text, expected):
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'He said "I am here. You are there." and left. Then he slept.',
            ['He said "I am here. You are there." and left.', "Then he slept."],
        ),
        ("'One thing. Two things,' he said. Next.", ["'One thing. Two things,' he said.", "Next."]),
        ("She said ‘One. Two.’ and left. Next.", ["She said ‘One. Two.’ and left.", "Next."]),
        ("\"He said 'No. Never.' to me. Why?\" Gone.", ["\"He said 'No. Never.' to me. Why?\"", "Gone."]),
        ("Don't go. It's the dogs' house. Isn't it?", ["Don't go.", "It's the dogs' house.", "Isn't it?"]),
        ("It’s ‘it. The dogs’ toy. The cats’ bed.", ["It’s ‘it.", "The dogs’ toy.", "The cats’ bed."]),
        ('A 12" disc. A 7" one. Both.', ['A 12" disc.', 'A 7" one.', "Both."]),
        ('"Never closed. Then "one" more. End.', ['"Never closed.', 'Then "one" more.', "End."]),
        ("In the '90s. The '60s' end. So.", ["In the '90s.", "The '60s' end.", "So."]),
    ],
)
def test_straight_quotation_marks_are_paired_and_apostrophes_are_none(text, expected):
    assert sentences(text) == expected


def test_what_cannot_be_spoken_is_no_piece_of_its_own():
    assert sentences("***\nHello.\n——\n🎉\nBye.") == ["***\nHello.\n——\n🎉", "Bye."]


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("今日は、……、いい天気。", 6, ["今日", "は、……、", "いい天気。"]),
        ("one two three ♪♪♪♪ eleventhly", 13, ["one two", "three ♪♪♪♪", "eleventhly"]),
        ("♪♪♪♪ あいうえお", 8, ["♪♪♪♪ あいう", "えお"]),
        ("♪♪♪♪ あ、いうえお", 8, ["♪♪♪♪ あ、", "いうえお"]),
        ("Hello ♪♪♪♪ world", 5, ["Hello", "world"]),  # no room beside a word that is not torn for it
        ("***\nJoe: Hi.", 8, ["Joe: Hi."]),
    ],
)
def test_marks_share_a_piece_with_something_to_say_however_short_the_pieces_are(text, limit, expected):
    assert split_text(text, limit, is_dialogue="Joe" in text) == expected


@pytest.mark.parametrize("text", ["", " \n\u3000\t", "\r\n\r\n", "……！？\n——", "♪"])
def test_a_text_with_nothing_to_say_has_no_pieces(text):
    assert split_text(text, 10) == []
    assert split_text(text, 10, is_dialogue=True) == []


# ---- pieces of a size


def test_a_piece_holds_as_many_sentences_as_fit():
    assert split_text("One. Two. Three. Four.", 10) == ["One. Two.", "Three.", "Four."]
    assert split_text("一。二。三。四。五。", 4) == ["一。二。", "三。四。", "五。"]


def test_a_quotation_that_is_over_the_limit_is_cut_at_its_sentences():
    assert split_text("「一二三。四五六。七八九。」", 6) == ["「一二三。", "四五六。", "七八九。」"]


def test_a_long_sentence_is_cut_at_clauses_then_at_blanks_then_between_characters():
    assert split_text("春は桜、夏は海、秋は月。", 8) == ["春は桜、夏は海、", "秋は月。"]
    assert split_text("First this, then that; at last: all.", 18) == [
        "First this,",
        "then that;",
        "at last: all.",
    ]
    assert split_text("1,000 yen at 10:30 for all of us", 12) == ["1,000 yen at", "10:30 for", "all of us"]
    assert split_text("  abcdefghij", 4) == ["abcd", "efgh", "ij"]


def test_a_long_sentence_is_cut_outside_a_quotation_where_it_can_be():
    text = "彼は、「はい、そうです」と、言った"
    assert split_text(text, 11) == ["彼は、", "「はい、そうです」と、", "言った"]


def test_no_piece_begins_with_a_small_kana_or_a_closing_mark():
    assert split_text("ああああちょっとまってー", 6) == ["ああああ", "ちょっとまっ", "てー"]
    assert split_text("ーーーーー", 2) == ["ーー", "ーー", "ー"]


def test_no_character_of_a_reader_is_torn():
    assert split_text(f"a{FAMILY}b{FAMILY}", 8) == [f"a{FAMILY}", f"b{FAMILY}"]
    assert split_text("e\u0301" * 4, 3) == ["e\u0301"] * 4
    assert split_text("a🇯🇵b🇳🇴c🇫🇷", 3) == ["a🇯🇵", "b🇳🇴", "c🇫🇷"]
    assert split_text("a👍🏽b👍🏽", 3) == ["a👍🏽", "b👍🏽"]
    assert split_text("\uac00\u11a8" * 3, 3) == ["\uac00\u11a8"] * 3  # a Hangul syllable and its last letter
    assert split_text("か\u3099" * 3, 3) == ["か\u3099"] * 3


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("約1,234,567.89円です", 13, ["約1,234,567.89", "円です"]),
        ("約1,234,567.89円です", 12, ["約", "1,234,567.89", "円です"]),
        ("合計は１，２３４．５円", 8, ["合計は", "１，２３４．５円"]),
        ("今日はHelloですね", 6, ["今日は", "Helloで", "すね"]),
        ("今日はdon'tですね", 6, ["今日は", "don'tで", "すね"]),
        ("price 1\u202f234\u202f567 yen", 10, ["price", "1\u202f234\u202f567", "yen"]),
        ("1,234,567.89", 6, ["1,234,", "567.89"]),
    ],
)
def test_a_number_or_a_latin_word_is_cut_only_where_it_alone_is_over_the_limit(text, limit, expected):
    assert split_text(text, limit) == expected


def test_characters_are_those_of_the_unicode_standard():
    regex = pytest.importorskip("regex")
    alphabet = "\uac00\u1161\u11a8aé\u0301\u200d👨👩🏽🇯🇵🇳\ufe0f각ᄀ각\r\n日か\u3099ﾞ❤1\u20e3\U000e0067\u200c "

    @given(st.text(alphabet, max_size=30))
    def same(text):
        ends = {found.end() for found in regex.finditer(r"\X", text)}
        ours = {place for place, may_cut in enumerate(boundaries(text)) if may_cut and place}
        # A joiner binds two pictures alone there, and a mark no control; not to cut is never wrong.
        assert ours <= ends
        assert ends - ours <= {place for place in ends if text[place - 1] in "\u200d\r\n"}

    same()


_PARTS = st.sampled_from(
    [
        *(
            "今日は",
            "。",
            "、",
            "「",
            "」",
            "！",
            "？",
            "…",
            "ー",
            "っ",
            "\n",
            " ",
            "\u3000",
            "3.14",
            "Mr. ",
            "e.g. ",
        ),
        *(
            "Hello",
            ". ",
            "! ",
            "?",
            ", ",
            "(",
            ")",
            '"',
            "U.S.",
            "...",
            FAMILY,
            "e\u0301",
            "🇯🇵",
            "12",
            "\ud83d",
        ),
    ]
)
TEXTS = st.one_of(st.lists(_PARTS, max_size=40).map("".join), st.text(max_size=80))


@given(TEXTS, st.integers(1, 40), st.booleans())
def test_no_letter_is_lost_and_every_piece_has_one_and_none_is_over_the_limit(text, limit, by_sentence):
    pieces = split_text(text, limit, by_sentence=by_sentence)
    assert letters("".join(pieces)) == letters(text)
    for piece in pieces:
        assert piece == piece.strip()
        assert letters(piece)
        is_one = not any(boundaries(piece)[1:-1])
        assert len(piece) <= limit or is_one


@given(TEXTS, st.booleans())
def test_nothing_is_lost_of_a_text_whose_marks_have_room(text, by_sentence):
    pieces = split_text(text, 10_000, by_sentence=by_sentence)
    assert inked("".join(pieces)) == (inked(text) if letters(text) else "")


@given(TEXTS, st.integers(1, 40))
def test_pieces_stand_in_the_text_as_they_are_and_in_order(text, limit):
    place = 0
    for piece in split_text(text, limit):
        found = text.index(piece, place)
        assert not letters(text[place:found])
        place = found + len(piece)
    assert not letters(text[place:])


def test_a_long_script_is_split_in_time_that_grows_with_its_length():
    texts = [
        "「はい。」と言う。" * 20_000,
        "a" * 200_000,
        "あ" * 200_000,
        "A. " * 60_000,
        "(" * 100_000 + "あ。" * 1000,
        "\"'(「" * 30_000 + "a",
        "♪\n" * 50_000 + "a",
        'x "a ' * 40_000,
        "あ" + "🇯🇵" * 40_000 + "a",
        "あ🇯🇵🇳🇴" * 20_000,
    ]
    started = time.process_time()
    for text in texts:
        assert letters("".join(split_text(text, 600))) == letters(text)
    for text in texts[-2:]:
        assert letters("".join(split_text(text, 10))) == letters(text)
    assert time.process_time() - started < 8


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_that_no_character_fits_into_is_refused(limit):
    with pytest.raises(ParamError, match="at least 1 character"):
        split_text("a", limit)


def test_the_stops_within_a_sentence_are_told_from_its_ends():
    text = 'Prof. J. Lee said "Stop. Now." at 3 p.m. on Jan. 3, etc., about... that.'
    stops = inner_stops(text)
    assert [text[: place + 1].rsplit(maxsplit=1)[-1] for place in sorted(stops)] == [
        *("Prof.", "J.", "Now.", "p.", "p.m.", "Jan.", "etc."),
    ]
    assert inner_stops("Stop. Now.") == frozenset()


# ---- dialogue


def test_a_dialogue_is_cut_between_turns_alone():
    script = "Joe: Hi. How are you?\nJane: Hey!\n(laughs)\n\nJoe: Bye."
    assert split_text(script, 43, is_dialogue=True) == [
        "Joe: Hi. How are you?\nJane: Hey!\n(laughs)",
        "Joe: Bye.",
    ]
    assert split_text(script, 40, by_sentence=True, is_dialogue=True) == [
        "Joe: Hi. How are you?",
        "Jane: Hey!\n(laughs)",
        "Joe: Bye.",
    ]
    assert split_text("太郎：はい。\n花子：いいえ。", 7, is_dialogue=True) == [
        "太郎：はい。",
        "花子：いいえ。",
    ]


def test_a_turn_over_the_limit_is_refused_and_named():
    with pytest.raises(ParamError, match=r"has 26 characters and the limit is 20: 'Jane: .*name the speaker"):
        split_text("Joe: Hi.\nJane: Hey there, hello you", 20, is_dialogue=True)


@given(st.lists(st.sampled_from(["Joe: hi", "Jane: hey, you", "more", "", "「一。二。」"]), max_size=20))
def test_no_turn_of_a_dialogue_is_lost(lines):
    text = "\n".join(lines)
    limit = max(20, len(text) // 2)
    try:
        pieces = split_text(text, limit, is_dialogue=True)
    except ParamError:
        return
    assert inked("".join(pieces)) == inked(text)
    assert all(len(piece) <= limit for piece in pieces)
