"""Write caption: sentences with a reference; a line is tag|required;words|sentence|caption.

Required words are separated by `;`, accepted spellings of one by `/`.
"""

# ruff: noqa: E501  (one sample a line)

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from authoring import write

SEED = 1303
MAX_CHARS = {"en": 38, "ja": 18}

EN = """
food|onions;butter|Today we cook onions very slowly in butter until they turn the colour of old furniture.|Onions cooked slowly in butter
food|bread;3|Our baker shows how to rescue stale bread with nothing but steam and 3 minutes of patience.|Rescue stale bread in 3 minutes
food|noodle;midnight|A tiny noodle stand that opens only at midnight has a line around the block.|Noodle stand that opens at midnight
food|lemon|She adds lemon at the very end, because heat takes the sharpness away.|Add lemon at the very end
food|rice;pan|Leftover rice gets a second life in a hot pan with sesame and a little patience.|Leftover rice, one hot pan
food|soup;grandmother|This soup was invented by my grandmother during a week without electricity.|My grandmother's blackout soup
food|coffee;4|We tasted coffee from 4 roasters on the same street and argued for an hour.|Coffee from 4 roasters, one street
travel|bridge;1931|The wooden bridge has stood here since 1931, though every spring the river tries to take it.|The bridge that stands since 1931
travel|ferry;island|The first ferry to the island leaves before sunrise, half full of sleepy postmen.|First ferry to the island
travel|train;snow|Our train stopped for two hours in deep snow and the conductor began to sing.|Our train stuck in snow
travel|lighthouse|Nobody has lived in the lighthouse for years, but someone still cleans the lamp.|Who still cleans the lighthouse
travel|market;boats|At this market the shops are boats, and the customers paddle too.|A market made of boats
travel|bicycle;500|He crossed 500 kilometres of gravel road on a bicycle he found in a barn.|500 km on a barn bicycle
travel|hotel;books|The hotel has no television, only nine thousand books and a very strict cat.|A hotel full of books
tech|battery;20|Keep the battery above 20 percent and it will live about twice as long.|Keep your battery above 20 percent
tech|camera;rain|We left a cheap camera in the rain all night to see what would happen.|We left a camera in the rain
tech|keyboard;quiet|The new keyboard is so quiet that the whole office thinks I stopped working.|The keyboard that is too quiet
tech|lens|Scratches on the front of a lens matter far less than a fingerprint on the back.|Scratches on a lens matter less
tech|drone;wind|Before you fly a drone near the coast, learn to read the wind on the water.|Read the wind before you fly a drone
tech|robot;stairs|The robot can climb stairs now, but it still waits politely for every door.|This robot can climb stairs
tech|microphone;blanket|A thick blanket behind the microphone does more than an expensive filter.|Microphone tip: hang a blanket
craft|chair;glue|We repair a broken chair without a single screw, using only glue and string.|Fix a chair with glue and string
craft|paper;lamp|A sheet of paper, two folds and a wire are enough for a bedside lamp.|A lamp from one sheet of paper
craft|knife;stone|Draw the knife over the stone slowly, and listen: the sound tells you the angle.|Knife and stone: listen to the angle
craft|paint;cold|Paint dries badly in the cold, so warm the room an hour before you start.|Why paint hates the cold
craft|sweater;sleeves|The sweater took a winter to knit, mostly because she did the sleeves three times.|A sweater and its three sleeves
craft|clock;1890|He found a clock from 1890 in the attic and made it tick with a paper clip.|The 1890 clock ticks again
craft|boat;6|In 6 weeks two teachers built a boat from doors that the school threw away.|A boat built from doors in 6 weeks
people|teacher;violin|The music teacher sold her car to buy a violin for the village school.|The teacher who bought a violin
people|fisherman;radio|An old fisherman broadcasts a radio show from his kitchen every Sunday.|The fisherman with a radio show
people|twins;bakery|The twins have run the bakery together since they were nineteen, on opposite shifts.|Twins, one bakery, two shifts
people|goalkeeper;poems|Between matches the goalkeeper writes poems and hides them in her gloves.|The goalkeeper who writes poems
people|postman;12|For 12 years the postman has photographed the same oak on his round.|A postman, an oak, 12 years
people|pilot;garden|After her last flight the pilot planted a garden in the shape of a runway.|A pilot plants a runway garden
nature|owl;barn|An owl moved into our barn last week and now nobody dares to start the tractor.|The owl that lives in our barn
nature|glacier;40|The glacier above the village has lost 40 metres since the first film was shot.|The glacier lost 40 metres
nature|bees;roof|Thousands of bees live on the roof of the opera, and they prefer the quiet nights.|Bees on the opera roof
nature|fox;platform|Every evening a fox waits on the platform as if it wanted the last train.|The fox on the platform
nature|seeds;ice|Some seeds only wake up after a winter under ice, so put yours in the freezer.|Seeds that need ice
nature|moss|Moss needs no soil at all, which is why it grows so well on our north wall.|Why moss needs no soil
nature|storm;9|The storm lasted 9 hours and left a beach where the car park used to be.|A storm of 9 hours made a beach
nature|crow;coins|The crow in our yard brings coins, and we have started to pay it in peanuts.|The crow that brings coins
"""

JA = """
food|味噌;三日/3日|自家製の味噌だれは三日寝かせると角が取れて、驚くほど丸い味になります。|味噌だれは三日寝かせる
food|卵;氷|ゆで卵は氷水に入れてから殻をむくと、薄皮まできれいに取れます。|ゆで卵は氷水でむく
food|カレー;翌朝|作りたてもいいけれど、うちのカレーは翌朝のほうが断然おいしいんです。|カレーは翌朝がうまい
food|豆腐;塩|豆腐に塩をふって一晩置くだけで、チーズのような食感に変わります。|豆腐と塩でチーズ風
food|餅|固くなった餅を細かく割って揚げると、子どもが取り合うおやつになります。|固い餅で作るおやつ
food|鮭;皮|鮭は皮から焼き始めて、最後の一分だけ身を下にするのが店の流儀です。|鮭は皮から焼く
food|柚子|冬の終わりに余った柚子は、皮だけ凍らせておけば一年使えます。|余った柚子は凍らせる
travel|灯台;百段/100段|岬の灯台は百段の階段を上った人だけが、海の丸さを見られます。|百段上って灯台へ
travel|無人駅;猫|一日に二本しか来ない無人駅で、猫だけが毎朝列車を出迎えています。|無人駅で待つ猫
travel|温泉;川|川の石をどけると温泉が湧くので、好きな場所を自分で掘って入ります。|川を掘れば温泉
travel|朝市|島の朝市は日の出とともに始まり、七時にはもう片付けが終わっています。|島の朝市は夜明けから
travel|吊り橋;霧|深い霧の朝だけ、この吊り橋は空に浮かんでいるように見えるそうです。|霧に浮かぶ吊り橋
travel|夜行バス|夜行バスで眠るコツは、枕より靴下を用意することだと旅人は言います。|夜行バスは靴下が大事
travel|棚田;冬|棚田は秋が有名ですが、雪が線を引く冬の姿を地元の人は一番好みます。|棚田は冬が美しい
tech|電波;鍋|電波が弱い台所でも、鍋のふたを一枚立てるだけで配信が途切れなくなりました。|鍋のふたで電波を助ける
tech|三脚;砂|砂浜で三脚を使ったあとは、真水で脚の中まで洗わないとすぐ固まります。|三脚の砂は真水で
tech|三色/3色;配信|配信画面に使う色は三色までと決めるだけで、文字がぐっと読みやすくなります。|配信画面は三色まで
tech|字幕;二行/2行|字幕は二行までに収めると、見る人の目が画面の中央から離れません。|二行までの字幕
tech|動画;名前|動画の名前に日付を先に書いておけば、十年後の自分が必ず感謝します。|動画の名前は日付から
tech|翻訳;方言|この翻訳機は標準語なら完璧なのに、祖母の方言には毎回あやまります。|翻訳機も方言に降参
tech|古い/古いパソコン;ゲーム|十五年前の古いパソコンを直したら、昔のゲームが全部よみがえりました。|古いPCでゲーム復活
craft|畳;い草|畳の香りを決めるい草は、刈り取った夜のうちに泥で染めて乾かします。|畳の香りはい草から
craft|障子;穴|障子の小さな穴は、桜の形に切った紙を貼ると前よりかわいくなります。|障子の穴に桜の紙
craft|瓦;指|瓦の良し悪しは色ではなく、指ではじいた音の高さで分かるといいます。|瓦は指の音で選ぶ
craft|段ボール;棚|引っ越しで余った段ボールを三重にすると、本が置ける棚になります。|段ボールで本の棚
craft|革;水|革に水を含ませて一晩型に入れると、手の形にぴたりと合うようになります。|革は水で形を作る
craft|藍;十回/10回|藍染めの布は十回以上くり返し浸して、やっと夜空の色になります。|藍は十回染める
craft|下駄;鼻緒|下駄の鼻緒は左右で違う長さに締めると、歩くうちに足へなじみます。|左右で違う下駄の鼻緒
people|床屋;将棋|町で一軒の床屋では、待つ人が将棋を指し、勝てば散髪が半額になります。|将棋で安くなる床屋
people|運転手;絵本|バスの運転手は終点で待つ十分間に、子どもたちへ絵本を読んでいます。|絵本を読むバス運転手
people|駅員;俳句|駅員の田村さんは、遅れたお客さんに俳句を一つ渡すことにしています。|俳句を渡す駅員
people|大工;左手|右腕を痛めた大工は、左手だけで家を建てる方法を一から考えました。|左手で建てる大工
people|看護師;ギター|夜勤明けの看護師が病院の屋上でギターを弾くと、窓がそっと開きます。|看護師の屋上ギター
people|先生;太鼓|転任してきた先生は、授業の始まりを鐘ではなく太鼓で知らせます。|太鼓で始まる先生の授業
people|花火師;娘|花火師の娘は父と違って、音のしない花火を作ろうとしています。|花火師の娘の静かな夢
nature|つばめ;信号|駅前の信号に巣を作ったつばめのため、町は工事を夏の終わりまで延ばしました。|信号に巣を作るつばめ
nature|干潟;二万/20000|干潟には渡り鳥が二万羽も集まり、羽音が雷のように聞こえる朝があります。|干潟に集まる二万の鳥
nature|竹|竹は一晩で背丈が変わるので、定点カメラを置くだけで一本の映画になります。|竹は一晩で背が伸びる
nature|蛍;電気|蛍を見に来た人たちのために、この村は六月だけ電気を早く消します。|蛍のため電気を消す村
nature|亀/ウミガメ;砂浜|月のない夜を選んで、ウミガメは生まれた砂浜へ静かに戻ってきます。|亀が砂浜に戻る夜
nature|朝顔;五時/5時|朝顔は朝の五時に開き始めるため、撮影班は三時に起きて待ちました。|朝顔が開く朝五時
nature|猿;温泉|雪の日に温泉へ入る猿たちにも、よい場所を取り合う順番があるそうです。|猿にもある温泉の順番
"""


def rows():
    for lang, text in (("en", EN), ("ja", JA)):
        for line in text.strip().splitlines():
            tag, words, sentence, target = line.split("|")
            required = [group.split("/") for group in words.split(";")]
            checks = {"max_chars": MAX_CHARS[lang], "required": required}
            yield {"lang": lang, "input": sentence, "target": target, "checks": checks, "tags": [tag]}


if __name__ == "__main__":
    write(Path(__file__).parent, "cp", list(rows()), SEED)
