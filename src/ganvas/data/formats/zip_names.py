"""Names in archives that do not give their encoding, as Windows packs them.

The encoding is the one in which all names together are likeliest, letter by letter: kana and common
kanji speak for Japanese, syllables built as Korean ones are for Korean, and so on. A long list of
names is certain, a single short one is likely right; a note names the encoding.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ganvas.errors import DataError, SettingError
from ganvas.system.text import first_few, printable

MAX_EXAMINED = 2000  # distinct parts of names; more add nothing

_LETTER = 1 / 60  # an ASCII character, in any language
_RARE = 1e-8  # a character that no name should hold
_SWITCH = 0.02  # a letter of another script beside an ASCII letter, without a space between
_ACCENTED = "éèüöäàçñßáíóúêâîôûëïåøæãõÉÜÖÄÅØÑÇÈÁÓÚÆŒœ"
# the most frequent Chinese characters, and those of things that pictures show
_COMMON = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之"
    "年过发后作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样"
    "理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将"
    "两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信"
    "表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔"
    "更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统"
    "区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品"
    "住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运猫狗鸟鱼虎狮猴"
    "熊鹿兔羊牛鸡鸭鹅蛇龙蛙蝶蝴蜂虫花草树叶苹梨桃葡萄香蕉橙瓜菜米包蛋糕车船飞汽卡轮火箭房屋桥"
    "街灯椅桌床衣裤鞋帽杯瓶刀叉碗勺脚脸鼻嘴耳男孩童图片照素材训练验证测试集标签夹复异癌肺炎红"
    "黄绿青蓝紫黑灰粉春夏秋冬风雪雨云星阳玫瑰荷桂菊葵屏幕截微默副拍摄景视频缺陷"
)


def decoded_names(
    path: Path, names: Sequence[str | bytes], encoding: str | None
) -> tuple[list[str], tuple[str, ...]]:
    """The names in `encoding`, or in the likeliest one; and a note if it had to be found.

    names: as str where the archive says how to read them, as bytes elsewhere.
    Raises SettingError for an unknown encoding, DataError for names that are not in `encoding`.
    """
    unsure = [name for name in names if isinstance(name, bytes) and not name.isascii()]
    note: tuple[str, ...] = ()
    if encoding is not None:
        chosen = encoding
        _check(path, encoding, unsure)
    else:
        chosen = _likeliest(unsure)
        if chosen != "cp437":
            example = next(each.decode(chosen) for each in unsure)
            found = f"names in {path.name} are read as {chosen}: {printable(example)}"
            note = (f"{found}; --zip-encoding reads them as another",)
    return [name if isinstance(name, str) else name.decode(chosen) for name in names], note


def _check(path: Path, encoding: str, names: list[bytes]) -> None:
    try:
        "a".encode(encoding)
    except (LookupError, ValueError):
        known = "gbk, shift_jis, euc_kr, big5, cp866 or utf-8"
        raise SettingError(f"--zip-encoding {encoding}: unknown, expected {known}") from None
    bad = [name for name in names if not _decodes(name, encoding)]
    if bad:
        listed = first_few((name.decode("cp437") for name in bad), 3)
        raise DataError(f"{path} holds names that are not {encoding} ({listed}): give another")


def _decodes(name: bytes, encoding: str) -> bool:
    try:
        name.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _likeliest(names: list[bytes]) -> str:
    """The encoding of names; "utf-8" where all are valid, "cp437" where nothing fits better."""
    if not names:
        return "cp437"
    if all(map(_is_utf8, names)):
        return "utf-8"
    parts = sorted({part for name in names for part in name.split(b"/") if not part.isascii()})
    parts = parts[:: -(-len(parts) // MAX_EXAMINED)]
    scores = {
        encoding: sum(_score(part, encoding, chance) for part in parts)
        + math.log(_PRIOR.get(encoding, 1))
        for encoding, chance in _CHANCES.items()
        if all(_decodes(name, encoding) for name in names)
    }
    return max(scores, key=scores.__getitem__)


def _score(part: bytes, encoding: str, chance: Callable[[str], float]) -> float:
    """The logarithm of the probability of a name, if it is in `encoding`."""
    text, score = part.decode(encoding), 0.0
    for before, each in zip(" " + text, text, strict=False):
        if each.isascii():
            score += math.log(_LETTER)
        else:
            score += math.log(chance(each))
        mixed = each.isascii() != before.isascii()
        if mixed and (before + each).isalpha() and encoding not in _WESTERN:
            score += math.log(_SWITCH)
        if encoding in _WESTERN and not (each.isascii() or before.isascii() or each == "ß"):
            score += math.log(0.1)  # accents seldom stand side by side
    return score


def _is_utf8(name: bytes) -> bool:
    """Return True for valid UTF-8 of usual letters: two bytes of GBK may be a rare letter of it."""
    if not _decodes(name, "utf-8"):
        return False
    for part in name.decode().split("/"):
        alone = not any("a" <= each.lower() <= "z" for each in part.partition(".")[0])
        if not all(each.isascii() or _is_usual(ord(each), alone) for each in part):
            return False
    return True


def _is_usual(place: int, alone: bool) -> bool:
    """Return True for a letter that names have; accents only if they are not `alone`."""
    return place >= 0x800 or 0x370 <= place < 0x460 or (0xA0 <= place < 0x370 and not alone)


def _western(character: str) -> float:
    return 0.03 / len(_ACCENTED) if character in _ACCENTED else _RARE


def _numbers(text: str) -> list[float]:
    return list(map(float, text.split()))


_RUSSIAN = dict(
    zip(
        "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё",
        _numbers(
            "110 85 80 74 67 63 55 47 45 44 35 32 30 28 26 20 19 17 17 16 16 14 12 10 9 7 6 5 4 3 3"
            " 0.4 0.1"
        ),
        strict=True,
    )
)


def _russian(character: str) -> float:
    return _RUSSIAN.get(character.lower(), 1e-5) / 1000 / (20 if character.isupper() else 1)


def _chinese(character: str, encoding: str) -> float:
    """By the levels of the character sets: the first holds the common characters."""
    try:
        raw = character.encode("gb2312" if encoding == "gbk" else encoding)
    except UnicodeEncodeError:
        return _RARE * 10
    common, rare = (
        ((0xB0, 0xD7), (0xD8, 0xF7)) if encoding == "gbk" else ((0xA4, 0xC6), (0xC9, 0xF9))
    )
    if common[0] <= raw[0] <= common[1]:
        if encoding == "big5":
            return 0.95 / 5401
        return 0.75 / len(_COMMON) if character in _COMMON else 0.2 / 3755
    if rare[0] <= raw[0] <= rare[1]:
        return 0.02 / (3008 if encoding == "gbk" else 7652)
    return 1e-4 if unicodedata.category(character)[0] == "P" else _RARE * 10


def _japanese(character: str) -> float:
    if "ぁ" <= character <= "ヶ" or character == "ー":
        return 0.5 / 170
    raw = character.encode("cp932")
    if len(raw) == 1:
        return 2e-5  # half-width kana
    if 0x88 <= raw[0] <= 0x97:
        return 0.45 / 2965
    if 0x98 <= raw[0] <= 0xEA:
        return 0.01 / 3390
    return 1e-5 if character in "、。・「」（）～＿々" else _RARE * 100


# how often Korean syllables begin, go on and end so, in Unicode's order, of 1,000 or so
_LEADS = _numbers("120 10 70 80 10 70 60 60 5 100 5 220 90 4 30 20 30 30 70")
_VOWELS = _numbers("200 50 15 1 100 50 50 7 100 20 3 15 20 100 7 1 15 20 100 15 170")
_TAILS = _numbers("450 80 3 0.3 130 0.3 2 10 80 2 1 1 0.1 0.1 0.1 1 50 30 2 30 5 120 8 7 2 7 8 2")


def _korean(character: str) -> float:
    """By the frequency of a syllable's parts: Unicode orders syllables by them."""
    place = ord(character) - ord("가")
    unusual = 1e-4 if not _decodes(character.encode("cp949"), "euc_kr") else 1
    if not 0 <= place < 19 * 21 * 28:
        return 0.001 / 4888 if "一" <= character <= "龥" else _RARE * 10
    lead, vowel, tail = place // 588, place // 28 % 21, place % 28
    return _LEADS[lead] * _VOWELS[vowel] * _TAILS[tail] * unusual / 1.2e9


_WESTERN = ("cp437", "cp850", "cp1252")
_PRIOR = {"cp850": 0.5, "cp866": 1e-3, "big5": 0.1}
_CHANCES: dict[str, Callable[[str], float]] = {
    "cp437": _western,
    "cp850": _western,
    "cp1252": _western,
    "gbk": partial(_chinese, encoding="gbk"),
    "cp932": _japanese,
    "cp949": _korean,
    "big5": partial(_chinese, encoding="big5"),
    "cp866": _russian,
}
