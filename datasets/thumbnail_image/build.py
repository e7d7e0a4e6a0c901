"""Write thumbnail_image: prompts of thumbnails; a line is tags|prompt|caption, the caption may be empty."""

# ruff: noqa: E501  (one sample a line)

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from authoring import write

SEED = 2208

EN = """
caption;food|A bowl of ramen on a wooden counter, steam rising, the words "MIDNIGHT RAMEN" in large white letters above it.|MIDNIGHT RAMEN
caption;tech|A small robot with one wheel on a kitchen table, the title "IT CAN COOK" in bold yellow letters on the left.|IT CAN COOK
caption;travel|A red ferry in morning fog seen from the pier, the words "First boat out" along the bottom.|First boat out
caption;craft|Two hands folding blue paper, the words "3 FOLDS" in large letters in the upper right corner.|3 FOLDS
scene;nature|A single firefly over a dark rice field, a warm glow on the water, no text.|
scene;people|An old watchmaker laughing in his narrow shop, seen from the street through the window, no text.|
scene;travel|A staircase carved into a cliff above a calm sea at dusk, nobody on it, no text.|
count;food|Exactly three onions in a black pan, seen from above, on a plain grey table, no text.|
"""

JA = """
caption;food|湯気の立つラーメンの写真。上に白い大きな文字で「深夜ラーメン」と書かれている。|深夜ラーメン
caption;travel|霧の港を出る赤い連絡船。下に太い文字で「はじめての船旅」と書かれている。|はじめての船旅
caption;tech|机の上の小さなロボット。左に黄色い文字で「料理するロボット」と書かれている。|料理するロボット
caption;craft|藍色の布を広げる職人の手。右上に大きな文字で「藍を染める」と書かれている。|藍を染める
scene;nature|暗い田んぼの上を一匹の蛍が飛び、水面に光が映っている。文字はない。|
scene;people|駅のホームで俳句を渡す駅員と、笑っている乗客。横から見た構図、文字はない。|
scene;travel|夕暮れの静かな海の上、崖に刻まれた石段。人はいない。文字もない。|
count;food|黒い皿の上に、ちょうど五つのおにぎり。真上から見た構図、文字はない。|
"""


def rows():
    for lang, text in (("en", EN), ("ja", JA)):
        for line in text.strip().splitlines():
            tags, prompt, caption = line.split("|")
            checks = {"aspect_ratio": "16:9"} | ({"caption": caption} if caption else {})
            yield {"lang": lang, "input": prompt, "target": None, "checks": checks, "tags": tags.split(";")}


if __name__ == "__main__":
    write(Path(__file__).parent, "th", list(rows()), SEED)
