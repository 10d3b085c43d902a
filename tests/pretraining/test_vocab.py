"""Training a tokenizer: its ids against transformers, its pieces against SentencePiece's trainer."""

import io
import json
import random
from pathlib import Path

import pytest

from albert_torch.pretraining.vocab import SPECIAL, SYMBOLS, train_tokenizer
from albert_torch.tokenization.sentencepiece import ends_in_digit_comma
from albert_torch.tokenization.tokenizer import AlbertTokenizer

ODD = [
    "", " ", "\t", "a\tb\n c", "Ünïcödé ÉCOLE ﬁn", "Ｆｕｌｌ　ｗｉｄｔｈ １，２３４", "1,000,000 and 2010, 7, (8,9)",
    "😀 naïve 👍🏽", "日本語 한국어", '``quoted\'\' "text" (it) – £5 €6-7.', "▁marked ▁▁ text",
    "[CLS] a [MASK] b [SEP]<pad>", "\u200b\u0301x\u00a0y", "aa 66 hoho", "İstanbul ß ſ", "x" * 300,
    "a,b,,c ,d 5,,6",
]  # fmt: skip
# Each is drawn once: of "111", 1 + 11 and 11 + 1 score the same, and ours is the choice of SentencePiece.
LETTERS = "aeiotnrs ,.,1029  \"'(-–£)éßÅ１，日\t\u0301▁😀"


def generate(count: int, seed: int) -> list[str]:
    """Sentences of made-up words, the first ones frequent, with endings, numbers and marks."""
    draw = random.Random(0)
    stems = [
        "".join(draw.choices(["ba", "ne", "sto", "ri", "lú", "cha", "q"], k=draw.randint(1, 4)))
        for _ in range(400)
    ]
    draw = random.Random(seed)
    lines = []
    for _ in range(count):
        words = [
            stems[int(draw.paretovariate(0.7)) % 400] + draw.choice(["", "", "ing", "ed", "s"])
            for _ in range(draw.randint(3, 15))
        ]
        words.insert(
            2, draw.choice([f"{draw.randrange(3000):,}, and", '("so")', "50-60", "it's", "– £7."])
        )
        lines.append(" ".join(words).capitalize() + draw.choice([".", "!", ", or not."]))
    return lines


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n".join(generate(1500, seed=1)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[AlbertTokenizer, Path]:
    folder = tmp_path_factory.mktemp("tokenizer")
    return train_tokenizer([corpus], folder, vocab_size=300, progress=False), folder


def check_ids(tokenizer: AlbertTokenizer, folder: Path, texts: list[str]) -> None:
    """The same ids from our class, read back, and from transformers, of each text and of pairs."""
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoTokenizer.from_pretrained(folder)
    again = AlbertTokenizer.from_pretrained(folder)
    draw = random.Random(2)
    texts = (
        texts + ODD + ["".join(draw.sample(LETTERS, k=draw.randint(1, 20))) for _ in range(1000)]
    )
    for text in texts:
        expected = reference(text)["input_ids"]
        assert tokenizer(text)["input_ids"] == expected, text
        assert again(text)["input_ids"] == expected, text
    pairs = list(zip(texts[:50], texts[50:100], strict=True))
    expected = reference(
        pairs, truncation=True, max_length=20, padding=True, return_token_type_ids=True
    )
    assert dict(again(pairs, truncation=True, max_length=20, padding=True)) == dict(expected)


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("keep_accents", [True, False])
def test_ids_equal_those_of_transformers(
    tmp_path: Path, corpus: Path, lowercase: bool, keep_accents: bool
) -> None:
    """Kills: settings that are not written, a pipeline that is not the one that trained, other special ids."""
    tokenizer = train_tokenizer(
        [corpus],
        tmp_path,
        vocab_size=300,
        lowercase=lowercase,
        keep_accents=keep_accents,
        progress=False,
    )
    check_ids(tokenizer, tmp_path, generate(300, seed=3))
    pieces = set("".join(tokenizer.get_vocab().keys() - {*SPECIAL}))
    assert ("B" in pieces, "ú" in pieces) == (not lowercase, keep_accents)
    assert "".join(tokenizer.tokenize("Bú")) == "▁" + ("b" if lowercase else "B") + (
        "ú" if keep_accents else "u"
    )


@pytest.mark.assets
def test_ids_of_real_texts_equal_those_of_transformers(tmp_path: Path, assets: Path) -> None:
    """Kills: a difference that made-up words do not have."""
    book = assets / "data" / "gutenberg" / "carroll-alice.txt"
    tokenizer = train_tokenizer(
        [book], tmp_path, vocab_size=1500, units="sentences", progress=False
    )
    other = (assets / "data" / "gutenberg" / "milton-paradise.txt").read_text(encoding="utf-8")
    check_ids(tokenizer, tmp_path, other.split("\n")[:500])


def test_the_vocabulary_is_laid_out_as_the_published_ones(
    trained: tuple[AlbertTokenizer, Path],
) -> None:
    """Kills: other special ids, symbols glued to words, pieces that the comma rule would cut, an unused setting."""
    tokenizer, folder = trained
    assert len(tokenizer) == tokenizer.vocab_size == 300
    assert tokenizer.convert_ids_to_tokens(range(5)) == [
        "<pad>",
        "<unk>",
        "[CLS]",
        "[SEP]",
        "[MASK]",
    ]
    assert tokenizer.convert_ids_to_tokens(range(5, 13)) == list(SYMBOLS)
    assert [
        getattr(tokenizer, f"{name}_token_id") for name in ("pad", "unk", "cls", "sep", "mask")
    ] == list(range(5))
    vocab = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    learned, scores = zip(*vocab[13:], strict=True)
    assert list(scores) == sorted(scores, reverse=True)
    assert not [
        piece for piece in learned if ends_in_digit_comma(piece) or set(piece) & set(SYMBOLS)
    ]
    assert any(len(piece) > 6 for piece in learned)
    assert not any(piece[1:].count("▁") for piece in learned)  # pieces lie within words
    assert "".join(tokenizer.tokenize('("so"-so.)')) == '▁("so"-so.)'
    assert [piece for piece in tokenizer.tokenize('("so"-so.)') if piece in SYMBOLS] == list(
        '(""-.)'
    )


def test_training_twice_gives_the_same_files(
    corpus: Path, tmp_path: Path, trained: tuple[AlbertTokenizer, Path]
) -> None:
    """Kills: ids that depend on how many threads summed."""
    train_tokenizer([corpus], tmp_path, vocab_size=300, progress=False)
    for path in trained[1].iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_pieces_are_as_good_as_those_of_sentencepiece(
    trained: tuple[AlbertTokenizer, Path],
) -> None:
    """Kills: training on text that was not normalized, on a sample too small, on words without their marks."""
    sentencepiece = pytest.importorskip("sentencepiece")
    plain = [line.lower().replace("ú", "u") for line in generate(1500, seed=1)]
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(plain), model_writer=out, vocab_size=300, character_coverage=0.99995, minloglevel=2,
        pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols=list(SPECIAL[2:]), num_threads=1,
        user_defined_symbols=list(SYMBOLS),
    )  # fmt: skip
    reference = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    held_out = generate(300, seed=4)
    ours = sum(map(len, trained[0](held_out, add_special_tokens=False)["input_ids"]))
    theirs = sum(len(reference.encode(line.lower().replace("ú", "u"))) for line in held_out)
    assert ours < 1.03 * theirs
    assert not any(1 in row for row in trained[0](held_out)["input_ids"])


def test_rare_characters_are_unknown(tmp_path: Path) -> None:
    """Kills: a web corpus whose every stray character takes a piece, a common one that gets none."""
    file = tmp_path / "a.txt"
    file.write_text("\n".join([*generate(500, seed=1), "日本語", "ж" * 50]), encoding="utf-8")
    for coverage, known in ((0.999, {"ж"}), (1.0, set("ж日本語"))):
        tokenizer = train_tokenizer(
            [file], tmp_path / "t", vocab_size=150, character_coverage=coverage, progress=False
        )
        assert set("".join(tokenizer.get_vocab())) & set("ж日本語") == known


def test_a_sample_is_taken_evenly(tmp_path: Path) -> None:
    """Kills: a sample of the first sentences only, one larger than asked for."""
    file = tmp_path / "a.txt"
    lines = [(f"{'abcdefghij'[i // 100]}zu", "meko" if i % 2 else "tiro") for i in range(1000)]
    file.write_text("\n".join(f"{a} {a}n {b} {b}n" for a, b in lines))
    halves = {f"{letter}zu" for letter in "abcdefghij"}
    for sample, expected in (
        (1000, {*halves, "meko", "tiro"}),
        (10**9, {*halves, "meko", "tiro"}),
        (500, {*halves, "tiro"}),
    ):
        tokenizer = train_tokenizer(
            [file], tmp_path / "t", vocab_size=50, sample=sample, progress=False
        )
        assert {
            word for word in [*halves, "meko", "tiro"] if "▁" + word in tokenizer.get_vocab()
        } == expected


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"vocab_size": 10},
            r"vocab_size=10 must be above \d+: 5 special tokens, 8 symbols, and \d+ characters",
        ),
        (
            {"vocab_size": 10**6},
            r"vocab_size=1000000: the corpus has only \d+ pieces; give that, or more text",
        ),
        ({"character_coverage": 1.5}, r"character_coverage=1\.5 must be above 0 and at most 1"),
        ({"sample": 0}, "sample=0 must be at least 1 sentence"),
        ({"units": "words"}, "units='words' must be"),
    ],
)
def test_what_cannot_be_trained(
    tmp_path: Path, corpus: Path, options: dict[str, object], match: str
) -> None:
    """Kills: a panic in the library, a vocabulary smaller than asked for, files of a failed training."""
    with pytest.raises(ValueError, match=match):
        train_tokenizer([corpus], tmp_path / "t", progress=False, **options)
    assert not (tmp_path / "t").exists()


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    """Kills: a tokenizer without a piece."""
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match="no text in"):
        train_tokenizer([tmp_path], tmp_path / "t", progress=False)


def test_the_smallest_vocabulary_has_every_character(tmp_path: Path, corpus: Path) -> None:
    """Kills: a bound that is off by one."""
    with pytest.raises(ValueError, match="must be above") as error:
        train_tokenizer([corpus], tmp_path, vocab_size=13, progress=False)
    least = int(str(error.value).split("above ")[1].split(":")[0])
    tokenizer = train_tokenizer([corpus], tmp_path, vocab_size=least + 1, progress=False)
    assert len(tokenizer) == least + 1
    text = corpus.read_text(encoding="utf-8").split("\n")
    assert not any(1 in row for row in tokenizer(text)["input_ids"])
