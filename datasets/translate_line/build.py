"""Write translate_line: subtitle lines; a line is tag|term;term|number;number|line|translation.

Accepted spellings of a term or number are separated by `/`. Numbers may be absent.
"""

# ruff: noqa: E501  (one sample a line)

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from authoring import write

SEED = 1505

EN = """
plain|電車/列車/汽車;遅/おく||The train is late again.|電車がまた遅れています。
plain|猫/ねこ/ネコ;寝/眠/ねむ||The cat is sleeping on my keyboard.|猫が私のキーボードの上で寝ています。
plain|海/うみ;静か/しずか/穏やか||The sea is quiet this morning.|今朝の海は静かです。
plain|カメラ;忘れ/わすれ||I forgot my camera at home.|カメラを家に忘れました。
plain|水/みず;飲/のむ/のみ||Drink some water first.|まず水を飲んでください。
plain|雨/あめ;明日/あした||It will rain tomorrow.|明日は雨が降ります。
plain|山/やま;雪/ゆき||There is snow on the mountain.|山に雪があります。
plain|本/ほん;図書館||I found this book in the library.|この本は図書館で見つけました。
plain|ドア/扉/戸;開/あけ/あい||Please open the door slowly.|ドアをゆっくり開けてください。
plain|医者/医師;母/お母さん||My mother is a doctor.|私の母は医者です。
plain|魚/さかな;好き/すき||I like fish very much.|私は魚がとても好きです。
plain|春/はる;桜/さくら/サクラ||The cherry trees bloom in spring.|春に桜が咲きます。
plain|音楽;聞/聴||She listens to music at night.|彼女は夜に音楽を聞きます。
plain|東京;行/いき/いく||We are going to Tokyo together.|私たちは一緒に東京へ行きます。
number|犬/いぬ/イヌ|3/三|We have 3 dogs.|犬を3匹飼っています。
number|映画;分|90/九十|The film lasts 90 minutes.|映画は90分です。
number|人|200/二百|About 200 people came.|約200人が来ました。
number|切符/チケット;ドル|15/十五|A ticket costs 15 dollars.|チケットは15ドルです。
number|時|8/八|The show starts at 8.|番組は8時に始まります。
number|年|2019/二〇一九|We opened this shop in 2019.|この店は2019年に開きました。
number|卵/たまご;塩|2/二;5/五|Add 2 eggs and 5 grams of salt.|卵を2個と塩を5グラム入れます。
number|階|7/七|Her office is on floor 7.|彼女の事務所は7階です。
number|キロ/km|42/四十二|He ran 42 kilometres.|彼は42キロ走りました。
number|月|6/六|The rainy season begins in June.|雨の季節は6月に始まります。
number|円|500/五百|This coffee is 500 yen.|このコーヒーは500円です。
number|話/回/エピソード|12/十二|This is episode 12.|これは第12話です。
negation|ない/ません/なく/なかった;肉||I do not eat meat.|私は肉を食べません。
negation|ない/ません/なかった;見/会||Nobody saw the actor.|誰もその俳優を見ませんでした。
negation|ない/ません;時間||There is no time left.|もう時間がありません。
negation|まだ;ない/ません||The soup is not ready yet.|スープはまだできていません。
question|どこ;駅/えき||Where is the station?|駅はどこですか。
question|何/なに/なん;名前/なまえ||What is your name?|あなたの名前は何ですか。
question|なぜ/どうして/なんで;笑/わら||Why are you laughing?|なぜ笑っているのですか。
question|誰/だれ;写真||Who took this photo?|誰がこの写真を撮りましたか。
idea|ありがとう/感謝;見/視聴||Thank you for watching.|ご視聴ありがとうございます。
idea|おはよう;皆/みな||Good morning, everyone.|皆さん、おはようございます。
idea|次/つぎ;動画/ビデオ||See you in the next video.|次の動画で会いましょう。
idea|秘密/ひみつ||Let me tell you a secret.|秘密を一つ教えましょう。
idea|夢/ゆめ;子ども/子供/こども||This was my dream as a child.|これは子どものころの夢でした。
idea|新しい/新たな;町/街/まち||A new life begins in this town.|この町で新しい生活が始まります。
idea|父/お父さん;手紙||My father wrote this letter.|父がこの手紙を書きました。
idea|小さ/ちいさ;赤/あか||Look at that small red house.|あの小さな赤い家を見て。
"""

JA = """
plain|bus;school||バスで学校へ行きます。|I go to school by bus.
plain|bird/birds;window||窓の外に鳥がいます。|There is a bird outside the window.
plain|moon;beautiful/pretty/lovely||今夜は月がきれいですね。|The moon is beautiful tonight.
plain|sister;piano||妹はピアノを習っています。|My sister is learning the piano.
plain|bread;morning||毎朝パンを焼きます。|I bake bread every morning.
plain|umbrella;forgot/left/forget||傘を駅に忘れました。|I left my umbrella at the station.
plain|winter;cold||北海道の冬は寒いです。|Winter in Hokkaido is cold.
plain|flower/flowers;garden||庭に花を植えました。|I planted flowers in the garden.
plain|teacher;english||私の先生は英語を話します。|My teacher speaks English.
plain|river;fish||この川には魚がたくさんいます。|There are many fish in this river.
plain|kyoto;temple/temples||京都の古い寺を訪ねました。|We visited an old temple in Kyoto.
plain|phone/telephone/cellphone/smartphone;broken/broke/breaks||電話が壊れてしまった。|My phone is broken.
plain|brother/bro;car||兄が新しい車を買いました。|My brother bought a new car.
plain|tea;hot||熱いお茶をどうぞ。|Please have some hot tea.
number|minutes/minute/min|10/ten|あと10分で着きます。|We will arrive in 10 minutes.
number|yen|3000/three thousand|このシャツは3000円です。|This shirt is 3000 yen.
number|people/persons/members/employees|25/twenty five|社員は25人です。|There are 25 employees.
number|o'clock/am/pm/morning|7/seven|朝7時に起きます。|I get up at 7 in the morning.
number|years/year|30/thirty|この店は30年続いています。|This shop has lasted 30 years.
number|cats/cat;dog|2/two;1/one/a|猫が2匹と犬が1匹います。|I have 2 cats and 1 dog.
number|kilometers/kilometres/km/kilometer/kilometre|5/five|海まで5キロ歩きました。|We walked 5 kilometers to the sea.
number|floor|4/4th/fourth|会議室は4階です。|The meeting room is on floor 4.
number|days/day|14/fourteen|撮影は14日かかりました。|The shooting took 14 days.
number|subscribers/followers/registrations/registered/members|1000/thousand|登録者が1000人になりました。|We now have 1000 subscribers.
number|born|1988|私は1988年に生まれました。|I was born in 1988.
number|points/point/score/percent/marks|80/eighty|試験は80点でした。|My exam score was 80 points.
negation|not/don't/doesn't/no/never/didn't/can't/cannot;alcohol/drink/sake||父はお酒を飲みません。|My father does not drink alcohol.
negation|not/don't/no/never/isn't/nobody/nothing/one/without;money||お金がありません。|I have no money.
negation|not/no/isn't/don't/nobody/nothing/one;room/house/here||部屋には誰もいません。|There is no one in the room.
negation|yet/still;not/hasn't/isn't/haven't||手紙はまだ届きません。|The letter has not arrived yet.
question|where;toilet/bathroom/restroom||トイレはどこですか。|Where is the restroom?
question|when;movie/film||映画はいつ始まりますか。|When does the movie start?
question|why;crying/cry/tears||どうして泣いているの？|Why are you crying?
question|who;song||この歌は誰が歌っていますか。|Who is singing this song?
idea|thank/thanks||手伝ってくれてありがとう。|Thank you for helping me.
idea|good/goodnight;night/goodnight||おやすみなさい、また明日。|Good night, see you tomorrow.
idea|next;week||続きは来週です。|To be continued next week.
idea|friend/friends;important/precious/dear/valuable||友だちは大切です。|Friends are important.
idea|world;small||世界は小さいですね。|It is a small world.
idea|grandfather/grandpa;clock/watch||祖父の時計を直しました。|I repaired my grandfather's clock.
idea|white;mountain/mountains||白い山が見えます。|I can see a white mountain.
idea|baby;smile/smiled/laughed/laugh/laughing/smiling||赤ちゃんが笑った。|The baby smiled.
"""


def groups(text):
    return [group.split("/") for group in text.split(";")] if text else []


def rows():
    for lang, to, text in (("en", "ja", EN), ("ja", "en", JA)):
        for line in text.strip().splitlines():
            tag, terms, numbers, source, target = line.split("|")
            checks = {"to": to, "terms": groups(terms), "numbers": groups(numbers)}
            tags = [tag, f"{lang}-{to}"]
            yield {"lang": lang, "input": source, "target": target, "checks": checks, "tags": tags}


if __name__ == "__main__":
    write(Path(__file__).parent, "tl", list(rows()), SEED)
