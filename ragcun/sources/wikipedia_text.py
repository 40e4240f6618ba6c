"""Clean articles of Wikipedia of what is left of the markup, and cut them into passages at the ends of sentences.

The texts of `wikimedia/wikipedia` went through a parser already; the markup that it did not understand is still there.
Every step takes time in proportion to the text, whatever the text is: patterns have bounded parts, nesting has a bounded
depth, and cuts are found by position, without copying the rest.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator

_DEPTH = 6
_LONGEST_LINK = 2000
_SHORT_LINE = 60

# The content of these is no prose.
_DROPPED_TAGS = "ref|gallery|timeline|imagemap|math|chem|score|syntaxhighlight|source|graph|templatestyles|mapframe"
_KEPT_TAGS = (
    "abbr|b|big|blockquote|br|center|cite|code|dd|del|div|dl|dt|em|font|h[1-6]|hr|i|includeonly|ins|kbd|li|noinclude|"
    "nowiki|ol|onlyinclude|p|poem|pre|q|references|s|samp|section|small|span|strike|strong|sub|sup|table|tbody|td|th|tr|"
    "tt|u|ul|var"
)
_DROPPED_TAG = re.compile(
    rf"(?P<open><(?:{_DROPPED_TAGS})(?:\s[^<>]{{0,500}})?(?<!/)>)|(?P<close></(?:{_DROPPED_TAGS})\s{{0,9}}>)", re.I
)
_COMMENT = re.compile(r"(?P<open><!--)|(?P<close>-->)")
_TEMPLATE = re.compile(r"(?P<open>\{\{)|(?P<close>\}\})")
_TABLE = re.compile(r"(?P<open>\{\|)|(?P<close>\|\})")
_LINK = re.compile(r"(?P<open>\[\[)|(?P<close>\]\])")
_TAG = re.compile(rf"</?(?:{_DROPPED_TAGS}|{_KEPT_TAGS})(?:\s[a-z-]{{1,20}}=[^<>]{{0,300}})?\s{{0,9}}/?>", re.I)
_OUTER_LINK = re.compile(r"\[(?:https?:)?//[^\s\]\[]{1,2000}(?:\s([^\]\[\n]{0,500}))?\]")
_QUOTES = re.compile(r"'{2,5}")
_MAGIC = re.compile(r"__[A-Z]{3,20}__")
_CITATION = re.compile(
    r"\[\s?(?:\d{1,3}(?:\s?[,–-]\s?\d{1,3}){0,9}|[a-z](?=\](?!\w))|(?:note|nb|n|lower-alpha) ?\d{1,3}"
    r"|(?:[\w-]{1,20} )?(?:citation|source|clarification|verification|quotation|page|year)s? needed|needs update|update"
    r"|who|when|which|where|by whom|according to whom|vague|dubious(?: [-–] discuss)?|dead link|sic|better source needed"
    r"|要出典|来源请求|來源請求|Beleg(?:e)? fehlt|réf\. nécessaire|cita requerida|senza fonte|источник не указан)\??\s?\]",
    re.I,
)
_EMPTY_BRACKETS = re.compile(r" ?[(（][\s,;:，；]{0,20}[)）]")
_LEFT_IN_BRACKETS = re.compile(r"([(（])[\s,;:，；]{1,20}")
# Widths and places of pictures, attributes of cells.
_PICTURE_OR_CELL = re.compile(
    r"(?:thumb|thumbnail|frame|frameless|border|left|right|center|none|upright|\d{1,4}px|\d{1,4}x\d{1,4}px|alt=|align=|"
    r"style=|colspan=|rowspan=|class=|width=|bgcolor=|scope=)[^|\n]{0,80}\|",
    re.I,
)
_NAMESPACE = re.compile(
    r":?(?:file|image|media|category|template|help|portal|wikipedia|special|datei|bild|kategorie|vorlage|fichier|catégorie|"
    r"modèle|archivo|imagen|categoría|plantilla|immagine|categoria|ficheiro|imagem|файл|изображение|категория|шаблон|"
    r"ファイル|画像|カテゴリ|文件|檔案|分类|分類|파일|분류|ملف|صورة|تصنيف|चित्र|श्रेणी|bestand|categorie|plik|kategoria)\s?:",
    re.I,
)
_UNSEEN = re.compile("[\u00ad\u200b\u2060\ufeff]")
_SPACES = re.compile(r"[^\S\n]+")
_WORD = re.compile(r"\S{1,1000}")

# Headings under which there are lists of sources, links and articles, to the article's end.
_TAIL_HEADINGS = (
    "see also|references|external links|further reading|footnotes|citations|notes and references|references and notes|"
    "works cited|general references|einzelnachweise|weblinks|siehe auch|références|notes et références|liens externes|"
    "voir aussi|articles connexes|referencias|enlaces externos|véase también|collegamenti esterni|voci correlate|"
    "altri progetti|referências|ligações externas|ver também|примечания|ссылки|см. также|przypisy|linki zewnętrzne|"
    "zobacz też|externe links|zie ook|脚注|関連項目|外部リンク|参考文献|參考文獻|外部链接|外部連結|参见|參見|각주|"
    "외부 링크|같이 보기|مراجع|المراجع|وصلات خارجية|انظر أيضا|انظر أيضًا|منابع|پیوند به بیرون|"
    "सन्दर्भ|संदर्भ|बाहरी कड़ियाँ|इन्हें भी देखें"
)
_TAILS = frozenset(unicodedata.normalize("NFC", heading) for heading in _TAIL_HEADINGS.split("|"))

# A full stop or its like, with what closes a quotation, before white space; the signs of scripts written without white
# space; or the end of a paragraph.
_SENTENCE_END = re.compile(r"\n|[.!?…]{1,9}[\"'”’»)\]]{0,3}(?=\s)|[。！？｡।॥؟۔።။។]{1,9}[\"'”’»)\]」』）]{0,3}")
_ABBREVIATION = re.compile(
    r"(?:\b[^\W\d_]|\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|No|Vol|ca|cf|e\.g|i\.e|etc|Nr|bzw|Gen|Col|Lt|Rev))$"
)


def clean_article(text: str) -> str:
    """The prose of an article: one paragraph a line, in NFC, without markup, lists of sources and headings."""
    text = _normalized(text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _UNSEEN.sub("", text)
    # These patterns begin with a choice, which is slow to search for; most texts hold none of them.
    if "<" in text or "-->" in text:
        text = _nested(_nested(text, _COMMENT, _nothing), _DROPPED_TAG, _nothing)
    if "{" in text or "}" in text:
        text = _nested(_nested(text, _TEMPLATE, _nothing), _TABLE, _nothing)
    if "[[" in text or "]]" in text:
        text = _nested(text, _LINK, _link_text)
    text = _OUTER_LINK.sub(lambda match: match[1] or "", text)
    for pattern in (_TAG, _QUOTES, _MAGIC, _CITATION, _EMPTY_BRACKETS):
        text = pattern.sub("", text)
    text = _LEFT_IN_BRACKETS.sub(r"\1", text)
    return "\n".join(_paragraphs(text))


def cut_passages(text: str, *, min_length: int, max_length: int) -> Iterator[str]:
    """Cut a cleaned text into passages of at most `max_length` characters; only the last may be below `min_length`.

    A passage is as long as fits and ends with a sentence; if no sentence ends between the two lengths, with a word; if no
    word does, at `max_length`.
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(text) if _ends_sentence(text, match)]
    start = 0
    while start < len(text):
        if text[start].isspace():
            start += 1
            continue
        stop = len(text)
        if stop > start + max_length:
            at = bisect_right(ends, start + max_length) - 1
            stop = (
                ends[at]
                if at >= 0 and ends[at] >= start + min_length
                else _word_end(text, start, min_length, max_length)
            )
        yield text[start:stop].strip()
        start = stop


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    """Whether a sentence ends here: not after an initial or a common abbreviation, nor before a small letter."""
    if match[0][0] != ".":
        return True
    following = text[match.end() + 1 : match.end() + 2]
    return not following.islower() and not _ABBREVIATION.search(text, max(0, match.start() - 8), match.start())


def _word_end(text: str, start: int, min_length: int, max_length: int) -> int:
    stop = start + max_length
    at = max(text.rfind(" ", start + min_length, stop + 1), text.rfind("\n", start + min_length, stop + 1))
    return at if at > start else stop


def _normalized(text: str) -> str:
    # Word by word: normalizing many thousand combining marks in a row would take quadratic time.
    return text if text.isascii() else _WORD.sub(lambda match: unicodedata.normalize("NFC", match[0]), text)


def _nested(text: str, signs: re.Pattern[str], replace: Callable[[str], str]) -> str:
    """`text` with what stands between an opening and its closing sign replaced, from the inside out.

    Signs without a partner, or nested too deep, are removed.
    """
    pieces: list[str] = []
    openings: list[int] = []
    at = 0
    for match in signs.finditer(text):
        pieces.append(text[at : match.start()])
        at = match.end()
        if match["open"] and len(openings) < _DEPTH:
            openings.append(len(pieces))
        elif match["close"] and openings:
            first = openings.pop()
            pieces[first:] = [replace("".join(pieces[first:]))]
    return "".join([*pieces, text[at:]])


def _nothing(inside: str) -> str:
    return ""


def _link_text(inside: str) -> str:
    """The visible text of a link: its label, else its target; none for pictures and categories."""
    if len(inside) > _LONGEST_LINK:
        return inside
    return "" if _NAMESPACE.match(inside) else inside.rpartition("|")[2]


def _paragraphs(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        line = _SPACES.sub(" ", line).strip()
        is_heading = line.startswith("==")
        line = line.strip("=").strip() if is_heading else line.lstrip("*#:; ")
        if line.casefold().rstrip(":") in _TAILS:
            return
        if not is_heading and line and not _is_left_over(line):
            yield line


def _is_left_over(line: str) -> bool:
    """Headings and cells are short and end no sentence; rows of tables and pictures have their signs in front."""
    if line.startswith(("|", "!")) or _NAMESPACE.match(line) or _PICTURE_OR_CELL.match(line):
        return True
    return len(line) <= _SHORT_LINE and not _SENTENCE_END.search(line + " ")
