"""Phrases found by rule: numbers with a measure word, dates and times, titles in 《》.

`find_rule_phrases(text)` → character spans, leftmost-longest and disjoint. No dictionary is asked: the tables of
measure words below are closed and written by hand.

A phrase is a *number* with the *measure* that follows it, two characters or more.

- Numbers are digits of either width (1,200 ３５ 3.5亿 20多万), Chinese numerals (三十五 两千多 十几 三点五 数百) and
  ranges (3至5 10-20). 百千万亿 multiply: with no number before them they begin none (万一, 千万要, 百姓), save in
  百余名 and 百分之十. 零 and 〇 begin none. 半 and the numerals of cheques (壹贰叁) are not read.
- `_PLAIN` measures follow any number. `_NARROW` ones need digits, 第, or a numeral of two characters: after one
  character they make names and idioms (五台山, 三门峡, 三轮车, 十分, 四面八方). A bare 一 needs a measure of two
  characters (一公里): 一个, 一年, 一些, 一起 are words that the engine knows, not quantities. A measure that begins
  another word is none (`_BEGINS`: 第三位|于). 国 and 川 are no measures: 三国演义 and 四川 hold no number.
- An ordinal is 第, a number and a measure (第三届); 第一 alone is none.
- Dates: 2008年8月8日, 二〇〇八年八月, 8月8日, 20世纪90年代, 2008-08-08 (also with / and .), with 公元前, 公元, 西元,
  西元前 or 民国 before a year. Times: 10时30分, 三点二十分; with 上午 and the like before them also 三点 and 10:30,
  which alone may be a score. One space may stand after digits (2008 年 8 月 8 日).
- Titles: the text inside 《…》 without the marks, 2 to 40 characters of one line; 〈〉 inside are allowed.

No border stands between two ASCII letters or digits, and no match crosses a newline.
"""

import re

Span = tuple[int, int]

TITLE_LIMIT = 40
_DIGIT = "0-9０-９"
_TIMES = "十百千万萬亿億兆"
# The numerals that may begin a number of their own; 一 is apart.
_UNIT = "二三四五六七八九十两兩几幾"
_NUMERAL = f"一{_UNIT}〇○零{_TIMES}"

# Measures after any number.
_PLAIN = (
    "个個位名只隻条條张張件本座家所间間辆輛架艘次届屆期批组組套份种種枚颗顆粒块塊片支枝根棵株朵匹幅首篇句页頁年月日天"
    "岁歲米吨噸亩畝斤克升秒倍户戶场場顿頓遍趟幢栋棟桌碗杯瓶箱袋桩樁"
)
# Measures that need digits, 第, or a numeral of two characters.
_NARROW = (
    "部台臺口头頭层層级級号號楼樓路线線环環手面方道门門轮輪里分点點时時人元度折代双雙股步段项項类類寸尺丈章節节卷集回"
    "局行班排连連营營军軍团團师師处處盘盤番阵陣席笔筆字宗例周週具"
)
# Each measure with the characters that make another word of it, so that it is no measure there.
_BEGINS_WORDS = (
    "个性体 位于於居列置 名字称单义为叫列誉 只有能是要会好得 条件约例 张力贴 本身来地科土人质次届报市 座谈落 "
    "家庭族乡长里具 所有以在谓得属需示用致能作 间接隔 次要级数日年序方元 期间望待货刊 批准评判 组织成合建 种植类子族 "
    "片面 支持付出援撑配 根据本 首都先次府席相批届要脑 年轻龄 月球亮 日本常益报军产期 天然津气空下使文主 "
    "升级高至降学为 户外口 场地所景合 部队门长位落件署 台湾北中风州 口岸号径味 头部上目 层次面 路线口段过由径 "
    "线路索上 手机段术工下 面积对临向貌前 方案式法向便针程可才 道路德教理 门户口 轮胎船廓流 里面程边 分别布析类为成 "
    "点击缀 时代期间候常尚 人类员民口工士才物生格们称权性均文 元素旦首件 度过假 代表理替 段落 项目 章程 节目日 "
    "集团中体合市结 回来到归 局部面势长 行业政为动星程列 班级长 排名列球放 连续接锁冠胜败环 营业养地 军区队事人官团 "
    "团体队员结 师范傅生长 处理于在分 席位 字符母典体幕节 宗教 例如 周围边恩 具有体备"
)
_BEGINS = {entry[0]: entry[1:] for entry in _BEGINS_WORDS.split()}
# Measures of two characters or more, after any number.
_LONGER = (
    "个月 個月 个小时 個小時 个半小时 个半月 个多月 个多小时 个世纪 個世紀 个星期 个百分点 个工作日 个季度 个赛季 "
    "年级 年級 年代 年度 年间 年半 周年 週年 周岁 周歲 岁半 天半 月份 星期 季度 赛季 世纪 世紀 小时 小時 分钟 分鐘 "
    "秒钟 秒鐘 点钟 點鐘 刻钟 刻鐘 毫秒 光年 公里 公尺 公分 公斤 公克 公升 公顷 公頃 公吨 海里 英里 英尺 英寸 英亩 "
    "英磅 华里 市斤 厘米 毫米 微米 纳米 分米 千米 平米 平方米 平方公里 平方千米 平方公尺 平方英里 平方英尺 平方厘米 "
    "立方米 立方公里 立方厘米 毫克 微克 千克 克拉 毫升 加仑 盎司 千瓦 千瓦时 兆瓦 马力 千伏 千卡 大卡 焦耳 千焦 赫兹 "
    "兆赫 分贝 字节 比特 像素 摄氏度 华氏度 块钱 元钱 美元 美金 欧元 歐元 日元 日圆 港元 港币 英镑 韩元 卢布 卢比 "
    "法郎 澳元 加元 人民币 元人民币 台币 新台币 人次 部分 方面 回合 阶段 号线 號線"
)
_LATIN = "km² km2 km/h km cm mm nm μm kg mg kHz MHz GHz Hz kWh kW MW KB MB GB TB ml mL dB m² m2 ㎡ ㎞ ℃ °C °F"
_TIME_OF_DAY = "上午 下午 中午 正午 凌晨 早上 晚上 早晨 清晨 傍晚 深夜 午夜 夜里 当晚"
_ERAS = "公元前 西元前 公元 西元 民国 民國"
# What may stand before a date or time belongs to it; the last character decides where to look.
_LEADS = {
    last: [lead for lead in f"{_ERAS} {_TIME_OF_DAY}".split() if lead[-1] == last] for last in "元前国國午晨上晚夜里"
}


def _any_of(words: str) -> str:
    """Return an alternation of words, the longest first, those with the same first character together."""
    rests: dict[str, list[str]] = {}
    for word in sorted(words.split(), key=len, reverse=True):
        rests.setdefault(word[0], []).append(re.escape(word[1:]))
    return "|".join(f"{re.escape(first)}(?:{'|'.join(found)})" for first, found in rests.items())


def _measures(characters: str) -> str:
    """Return an alternation of one-character measures that do not begin another word here."""
    free = "".join(character for character in characters if character not in _BEGINS)
    bound = [f"{character}(?![{_BEGINS[character]}])" for character in characters if character in _BEGINS]
    return "|".join([f"[{free}]", *bound])


def _rule() -> str:
    """Return the grammar as one regular expression.

    Its first item is a set of characters, which makes the search fast; what must stand before a match is asked
    after that first character (the last `.` of a lookbehind is the character just read). What repeats without
    limit is possessive and never begins inside a run of its own kind, so that time is linear in the text.
    """
    about = f"[多余餘几幾来來][{_TIMES}]*+"
    decimal = f"点[{_NUMERAL}]++"
    digits = (
        f"[{_DIGIT}]*+(?:,[{_DIGIT}]{{3}}(?![{_DIGIT}]))*+(?:[.．][{_DIGIT}]++)?+(?:[ ]?[{_TIMES}]++)?+(?:{about})?+"
    )
    signs = f"[{_NUMERAL}]*+(?:{decimal})?+(?:{about})?+"
    number = f"(?:[{_DIGIT}]{digits}|[一{_UNIT}]{signs})"
    until = f"[ ]?[-－–—~～至到][ ]?{number}"
    # A numeral of two characters or more, its first one read.
    two_signs = (
        f"(?:[{_NUMERAL}]++(?:{decimal})?+(?:{about})?+(?:{until})?+|{decimal}(?:{about})?+(?:{until})?+"
        f"|{about}(?:{until})?+|{until})"
    )
    small = f"[ ]?(?:[{_DIGIT}]{{1,2}}+|[一{_UNIT}]{{1,3}}+)[ ]?"
    day = f"月{small}[日号號](?![线線])"
    minutes = f"[时時点點]{small}分(?![钟鐘之])(?:{small}秒)?"
    dates = f"年{small}{day}|年{small}月份?|{day}|{minutes}"
    longer = f"{dates}|世[纪紀]{number}年代|分之{number}|{_any_of(_LONGER)}"
    plain = f"{longer}|{_measures(_PLAIN)}"
    broad = f"{plain}|{_measures(_NARROW)}"

    alone = f"(?<![{_DIGIT}{_NUMERAL}].)"
    timed = f"(?<={_TIME_OF_DAY.replace(' ', '.|')}.)"
    iso = r"[0-9]{3}([-/.])[0-9]{1,2}\1[0-9]{1,2}(?![0-9A-Za-z])"
    hours = f"{timed}[{_DIGIT}]?[:：][{_DIGIT}]{{2}}(?:[:：][{_DIGIT}]{{2}})?(?![{_DIGIT}A-Za-z])"
    latin = f"(?:{_any_of(_LATIN)})(?![0-9A-Za-z])"
    ways = [
        f"(?<=《)[^《》\n]{{2,{TITLE_LIMIT}}}+》",
        f"(?<=[{_DIGIT}])(?<![{_DIGIT}A-Za-z].)(?<![{_DIGIT}][.,．:：].)"
        f"(?:{iso}|{hours}|{digits}(?:{until})?+[ ]?(?:[%％‰]|{latin}|{broad}))",
        f"(?<=[一{_UNIT}]){alone}(?:[{_NUMERAL}]*+(?:{minutes})|{two_signs}(?:{broad}))",
        f"(?<=[{_UNIT}]){alone}(?:{timed}[时時点點]|(?<![周期拜初高].)(?:{plain}))",
        f"(?<=一){alone}(?:{longer})",
        f"(?<=[百千万萬亿億]){alone}(?:[多余餘][{_TIMES}]*+(?:{broad})|分之{number})",
        f"(?<=[数數])(?<![人多少次总倍个度系指函分整岁票字户].)[{_TIMES}]{signs}(?:{broad})",
        f"(?<=第)[ ]?{number}(?:{until})?+[ ]?(?:{broad})",
    ]
    return f"[{_DIGIT}{_NUMERAL}数數第《](?:{'|'.join(ways)})"


_RULE = re.compile(_rule())
_DATED = re.compile("[年月纪紀时時点點:：]")


def find_rule_phrases(text: str) -> list[Span]:
    """Return the (start, end) of numbers with measures, dates and titles in `text`, sorted and disjoint."""
    spans = []
    for found in _RULE.finditer(text):
        start, end = found.span()
        if text[start] == "《":
            inside = text[start + 1 : end - 1]
            start, end = end - 1 - len(inside.lstrip()), start + 1 + len(inside.rstrip())
            if end - start < 2:
                continue
        elif start and text[start - 1] in _LEADS:
            leads = next((lead for lead in _LEADS[text[start - 1]] if text.endswith(lead, 0, start)), "")
            if leads and _DATED.search(text, start, end):
                start -= len(leads)
        spans.append((start, end))
    return spans
