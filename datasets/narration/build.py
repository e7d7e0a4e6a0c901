"""Write narration: lines of video scripts; a line is tags|text|other ways to write what is heard.

Tags and other ways are separated by `;`.
"""

# ruff: noqa: E501  (one sample a line)

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from authoring import write

SEED = 2207

JA = """
number|この橋の長さは3,911メートル、完成までに10年かかりました。
number|温度は摂氏マイナス12度、風速は毎秒25メートルに達しています。
number;date|2019年4月1日、工場は38年の歴史に幕を下ろしました。
number|値段は税込みで1,980円、まとめて買うと15%引きになります。
number;date|受付は午前9時半から午後4時15分まで、木曜日はお休みです。
number|3人に1人が、週に2回以上この道を歩いていると答えました。
date|来月の8日と20日に、二回に分けて公開します。
foreign|ウェブサイトのトップページから、ダウンロードのボタンを押してください。
foreign|イタリアのベネチアでは、ガラス職人がアトリエを公開しています。
foreign;number|バッテリーはフル充電で18時間、ディスプレイは6.1インチです。
foreign|ポッドキャストのインタビューで、シェフはオリーブオイルの話ばかりしました。
foreign|ヴァイオリンとチェロのデュエットが、静かなロビーに響きます。
question|では、この小さな歯車は、いったい何のためにあるのでしょうか。
question|もし明日、海の水がすべて消えたら、あなたは何をしますか？
question|本当に、たった一人でここまで登ってきたのですか。
reading|今日は市場が休みなので、市場調査の結果を先にお見せします。
reading|上手に焼くには、舞台の上手に立つ人のように落ち着くことです。
reading|人気のない路地に、人気のパン屋が一軒だけあります。
reading|生の魚を生け簀に移し、生き生きとした姿のまま港へ運びます。
long|祖父が残した古い地図を頼りに山道を三時間ほど登り、崩れかけた石段の先にようやく小さな社を見つけたとき、霧の向こうから鐘の音が聞こえてきました。
long|雨が降ると音が変わるというこの屋根は、厚さの違う銅の板を職人が一枚ずつ曲げて重ね、百年たっても歌い続けるように作られています。
long;number|最初の実験では12個の卵のうち9個が割れましたが、箱の底に新聞紙を折って敷くだけで、次の実験では1個も割れませんでした。
plain|窓を開けると、焼きたてのパンの匂いが部屋いっぱいに広がります。
plain|最後までご覧いただき、ありがとうございました。次回もどうぞお楽しみに。
"""

EN = """
number|The tunnel is four hundred metres long, and it took seven years to dig.|The tunnel is 400 metres long, and it took 7 years to dig.;The tunnel is 400 meters long, and it took 7 years to dig.
number|Fold the paper three times, then cut two centimetres from the edge.|Fold the paper 3 times, then cut 2 centimetres from the edge.;Fold the paper three times, then cut two centimeters from the edge.
number;date|On the second of May, twenty-six fishing boats left this harbour at once.|On the 2nd of May, 26 fishing boats left this harbour at once.;On the 2nd of May, 26 fishing boats left this harbor at once.
date|The museum opens again on the first Monday in October, at half past nine.|The museum opens again on the first Monday in October at half past 9.
number|One in five visitors never finds the second staircase.|1 in 5 visitors never finds the second staircase.
foreign|The chef finishes the bouillabaisse with saffron, fennel and a slice of baguette.
foreign|Our guide grew up between Kyoto and Sao Paulo, and dreams in both languages.
foreign|She plays the koto as if it were a cello, slowly, with her eyes closed.
question|So what does this little gear do, and why are there eleven of them?|So what does this little gear do, and why are there 11 of them?
question|Would you cross this bridge at night, without a light?
question|Did nobody ever ask where the water goes?
reading|Read the label first: I read mine too late, and the lead paint was already open.
reading|The wind was too strong to wind the sail, so we sat close to the door and closed it.
long|By the time the last lantern was lit, the whole street had gone quiet, and the only sound was the slow creak of the ferry pulling against its rope.
long|If you remember one thing from this video, let it be this: a sharp knife is safer than a dull one, because it goes where you send it and nowhere else.
plain|Thank you for watching, and see you in the next film.
"""


def rows():
    for lang, text in (("ja", JA), ("en", EN)):
        for line in text.strip().splitlines():
            tags, sentence, *more = line.split("|")
            checks = {"accepted": more[0].split(";")} if more else {}
            yield {"lang": lang, "input": sentence, "target": None, "checks": checks, "tags": tags.split(";")}


if __name__ == "__main__":
    write(Path(__file__).parent, "na", list(rows()), SEED)
