"""Readings of Japanese without Sudachi's dictionary: rare kanji are read, or named; none is left out."""

from __future__ import annotations

import pytest

from llmbench.providers.japanese_words import Unreadable, pronounced, unreadable, words

pytest.importorskip("pyopenjtalk", reason="the package pyopenjtalk-plus is not installed")


def spoken(text: str) -> str:
    return "".join(map(pronounced, words(text)))


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("今日は三時です。", "キョーワサンジデス。"),
        ("彼を𠮟る。", "カレヲシカル。"),
        ("禰豆子が来た。", "ネトーコガキタ。"),
        ("𩸽を食べる", "ホッケヲタベル"),
        ("鱻と囍", "セントヨシ"),
        ("人々、段々々", "ヒトビト、ダンダンダン"),
        ("今日は(^_^)天気", "キョーワテンキ"),
    ],
)
def test_a_kanji_that_the_dictionary_lacks_is_read_by_its_unihan_reading(text: str, reading: str) -> None:
    assert spoken(text) == reading


@pytest.mark.parametrize(
    ("text", "unread"),
    [
        ("习近平主席", "习"),
        ("们们と简", "们简"),
        ("彁と妛と彁", "彁妛"),
        ("あ々ー", "々"),
        ("\U0003134fです", "\U0003134f"),
        ("やあ(^_^)习", "习"),
    ],
)
def test_a_kanji_without_a_reading_is_named_once(text: str, unread: str) -> None:
    with pytest.raises(Unreadable) as caught:
        words(text)
    assert caught.value.characters == unread


def test_the_unread_of_several_texts_are_named_together() -> None:
    assert unreadable(["はい。", "习と们", "们", "々"]) == "习们々"
    assert unreadable(["はい。", "禰豆子"]) == ""
