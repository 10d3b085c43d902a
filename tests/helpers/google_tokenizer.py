"""Google's tokenizer on the sentencepiece package, small models for it, and texts to compare."""

import io
import json
import random
import re
import unicodedata
from itertools import chain
from pathlib import Path
from typing import Any

import sentencepiece

SPECIAL_PIECES: dict[str, Any] = {
    "pad_id": 0,
    "unk_id": 1,
    "bos_id": -1,
    "eos_id": -1,
    "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
}
TRAINING_WORDS = (
    "the cat sat on a mat hoho hahaha aaa zzz 66 666 1,000 2010, 1999, 7, in and of it (was) not"
)

UNUSUAL_TEXTS = [
    "",
    " ",
    "\t\n",
    "a\x00b",
    "a\x0bb",
    "a\x1cb\x1db",
    "\x85a\xa0b\u2003c",
    "zero\u200bwidth\u200d\ufeffjoin",
    "😀 emoji 👩‍👩‍👧 end",
    "漢字とかな 混じり",
    "한글 \u1112\u1161\u11ab",
    "ＦＵＬＬ ｗｉｄｔｈ，１，２３４",
    "ﬁne ﬄoat ㎏ ½ ②",
    "cafe\u0301 café Ångström",
    "İstanbul Iı ẞ ΣΑΣ",
    "कि \u0903x a\u093fb",
    "``quoted'' 'single' “curly”",
    "1,234 2010,000 21,007 1,2,3,4 ,, 9,",
    "▁a a▁b ▁ ▁▁x",
    "x" * 3000,
    "3.14 £5 €6 1–2 (a)-b",
    "in 1999, and 2010,",
    "\u0301\u0302",
    "\ufb01\u0301",
    "<s> &amp; [unk]",
    "hello   world  ",
    "𝕳𝖊𝖑𝖑𝖔 ℌ",
    "\u202eabc\u202c",
    "soft\xadhyphen",
    "a\u0338=b",
]


def train_sentencepiece(**options: Any) -> bytes:
    """Return a small spiece.model, trained on sentences with numbers, commas and repeats."""
    random.seed(0)
    words = TRAINING_WORDS.split()
    sentences = (
        " ".join(random.choices(words, k=9)) + f" {random.randrange(99)},{random.randrange(999)}"
        for _ in range(900)
    )
    model = io.BytesIO()
    defaults = {"vocab_size": 90, "user_defined_symbols": ["(", ")"], **SPECIAL_PIECES}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences,
        model_writer=model,
        minloglevel=2,
        num_threads=1,
        **{**defaults, **options},
    )
    return model.getvalue()


def google_ids(processor: "sentencepiece.SentencePieceProcessor", text: str) -> list[int]:
    """Return the ids of clean text, as encode_pieces of google-research/albert describes them."""
    pieces: list[str] = []
    for piece in processor.encode(text, out_type=str):
        if len(piece) < 2 or piece[-1] != "," or not piece[-2].isdigit():
            pieces.append(piece)
            continue
        number = processor.encode(piece[:-1].replace("▁", ""), out_type=str)
        if piece[0] != "▁" and number[0][0] == "▁":
            number = number[1:] if len(number[0]) == 1 else [number[0][1:], *number[1:]]
        pieces += [*number, ","]
    return [processor.piece_to_id(piece) for piece in pieces]


def google_clean(
    text: str, do_lower_case: bool = True, keep_accents: bool = False, remove_space: bool = True
) -> str:
    """Return text as preprocess_text of google-research/albert cleans it.

    It includes the replacement of quotation marks, which Google's users add.
    """
    if remove_space:
        text = " ".join(text.strip().split())
    text = text.replace("``", '"').replace("''", '"')
    if not keep_accents:
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(char for char in decomposed if not unicodedata.combining(char))
    return text.lower() if do_lower_case else text


def numeric_texts(count: int) -> list[str]:
    """Return random texts of numbers, short and long, with many commas and repeated digits."""
    random.seed(1)
    texts = []
    for _ in range(count):
        words = []
        for _ in range(random.choice((1, 1, 2, 25))):
            kind_of_number = random.random()
            if kind_of_number < 0.5:
                words.append(f"{random.randrange(1, 32)},{random.randrange(1000):03}")
            elif kind_of_number < 0.7:
                words.append(f"{random.randrange(1910, 2019)},{random.randrange(2019)}")
            else:
                words.append("".join(random.choices("0166677,,", k=random.randrange(1, 9))))
        texts.append(" ".join(words))
    return texts


def real_texts(assets: Path) -> list[str]:
    """Return 30,000 texts of SST-2, XQuAD, COPA and books."""
    data = assets / "data"
    texts = [line.split("\t")[0] for line in (data / "SST-2/dev.tsv").read_text().splitlines()[1:]]
    for article in json.loads((data / "XQuAD-en/xquad.en.json").read_text())["data"]:
        for paragraph in article["paragraphs"]:
            texts.append(paragraph["context"])
            texts += [question["question"] for question in paragraph["qas"]]
    for path in (data / "COPA").glob("*.xml"):
        texts += re.findall(r"<(?:p|a1|a2)>(.*?)</", path.read_text())
    books = [
        path.read_text(encoding="utf-8", errors="replace")
        for path in sorted((data / "gutenberg").glob("[!D]*.txt"))
    ]
    return texts + list(chain.from_iterable(book.split("\n")[:1500] for book in books))
