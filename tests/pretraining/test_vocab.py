"""Training of a tokenizer: its ids against transformers, its pieces against SentencePiece's."""

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest

from albert_torch.pretraining.corpus import CorpusFormat
from albert_torch.pretraining.vocab import (
    SPECIAL_PIECES,
    SYMBOLS,
    VocabularyOptions,
    train_tokenizer,
)
from albert_torch.tokenization.sentencepiece import ends_in_digit_comma
from albert_torch.tokenization.tokenizer import AlbertTokenizer

UNUSUAL_TEXTS = [
    "",
    " ",
    "\t",
    "a\tb\n c",
    "Ünïcödé ÉCOLE ﬁn",
    "Ｆｕｌｌ　ｗｉｄｔｈ １，２３４",
    "1,000,000 and 2010, 7, (8,9)",
    "😀 naïve 👍🏽",
    "日本語 한국어",
    "``quoted'' \"text\" (it) – £5 €6-7.",
    "▁marked ▁▁ text",
    "[CLS] a [MASK] b [SEP]<pad>",
    "\u200b\u0301x\u00a0y",
    "aa 66 hoho",
    "İstanbul ß ſ",
    "x" * 300,
    "a,b,,c ,d 5,,6",
]
# In a random text, each of these occurs at most once. Of "111", 1 + 11 and 11 + 1 have the same
# score; this package chooses what SentencePiece chooses, and transformers may choose the other.
CHARACTERS = "aeiotnrs ,.,1029  \"'(-–£)éßÅ１，日\t\u0301▁😀"


def generate_sentences(count: int, seed: int) -> list[str]:
    """Sentences of made-up words, the first ones frequent, with endings, numbers and marks."""
    rng = random.Random(0)
    syllables = ["ba", "ne", "sto", "ri", "lú", "cha", "q"]
    stems = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(400)]
    rng = random.Random(seed)
    sentences = []
    for _ in range(count):
        words = [
            stems[int(rng.paretovariate(0.7)) % 400] + rng.choice(["", "", "ing", "ed", "s"])
            for _ in range(rng.randint(3, 15))
        ]
        extra = [f"{rng.randrange(3000):,}, and", '("so")', "50-60", "it's", "– £7."]
        words.insert(2, rng.choice(extra))
        sentences.append(" ".join(words).capitalize() + rng.choice([".", "!", ", or not."]))
    return sentences


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n".join(generate_sentences(1500, seed=1)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[AlbertTokenizer, Path]:
    """A tokenizer of 300 pieces, and its directory."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = train_tokenizer([corpus], folder, VocabularyOptions(300), progress=False)
    return tokenizer, folder


def assert_ids_equal_transformers(
    tokenizer: AlbertTokenizer, folder: Path, texts: list[str]
) -> None:
    """Compare ids of texts and pairs: the trained tokenizer, the saved one and transformers."""
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoTokenizer.from_pretrained(folder)
    saved = AlbertTokenizer.from_pretrained(folder)
    rng = random.Random(2)
    random_texts = ["".join(rng.sample(CHARACTERS, k=rng.randint(1, 20))) for _ in range(1000)]
    for text in [*texts, *UNUSUAL_TEXTS, *random_texts]:
        expected = reference(text)["input_ids"]
        assert tokenizer(text)["input_ids"] == expected, text
        assert saved(text)["input_ids"] == expected, text
    pairs = list(zip(texts[:50], texts[50:100], strict=True))
    options: dict[str, Any] = {"truncation": True, "max_length": 20, "padding": True}
    expected = reference(pairs, return_token_type_ids=True, **options)
    assert dict(saved(pairs, **options)) == dict(expected)


@pytest.mark.parametrize("do_lower_case", [True, False])
@pytest.mark.parametrize("keep_accents", [True, False])
def test_ids_equal_those_of_transformers(
    tmp_path: Path, corpus: Path, do_lower_case: bool, keep_accents: bool
) -> None:
    """Catches: settings that are not saved, another pipeline than that of the training."""
    options = VocabularyOptions(300, do_lower_case=do_lower_case, keep_accents=keep_accents)
    tokenizer = train_tokenizer([corpus], tmp_path, options, progress=False)
    assert_ids_equal_transformers(tokenizer, tmp_path, generate_sentences(300, seed=3))
    characters = set("".join(tokenizer.get_vocab().keys() - {*SPECIAL_PIECES}))
    assert ("B" in characters, "ú" in characters) == (not do_lower_case, keep_accents)
    expected = ("b" if do_lower_case else "B") + ("ú" if keep_accents else "u")
    assert "".join(tokenizer.tokenize("Bú")) == f"▁{expected}"


@pytest.mark.assets
def test_ids_of_real_texts_equal_those_of_transformers(tmp_path: Path, assets: Path) -> None:
    """Catches: a difference that made-up words do not show."""
    books = assets / "data" / "gutenberg"
    tokenizer = train_tokenizer(
        [books / "carroll-alice.txt"],
        tmp_path,
        VocabularyOptions(1500),
        CorpusFormat(sentence_splitting="sentences"),
        progress=False,
    )
    other_book = (books / "milton-paradise.txt").read_text(encoding="utf-8")
    assert_ids_equal_transformers(tokenizer, tmp_path, other_book.split("\n")[:500])


def test_the_vocabulary_is_laid_out_as_the_published_ones(
    trained: tuple[AlbertTokenizer, Path],
) -> None:
    """Catches: other special ids, symbols within words, pieces that the comma rule would cut."""
    tokenizer, folder = trained
    assert len(tokenizer) == tokenizer.vocab_size == 300
    assert tokenizer.convert_ids_to_tokens(range(5)) == list(SPECIAL_PIECES)
    assert SPECIAL_PIECES == ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
    assert tokenizer.convert_ids_to_tokens(range(5, 13)) == list(SYMBOLS)
    names = ("pad", "unk", "cls", "sep", "mask")
    assert [getattr(tokenizer, f"{name}_token_id") for name in names] == list(range(5))
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    learned, scores = zip(*vocabulary[13:], strict=True)
    assert list(scores) == sorted(scores, reverse=True)
    assert not any(ends_in_digit_comma(piece) or set(piece) & set(SYMBOLS) for piece in learned)
    assert any(len(piece) > 6 for piece in learned)
    assert not any(piece[1:].count("▁") for piece in learned)  # pieces do not cross words
    pieces = tokenizer.tokenize('("so"-so.)')
    assert "".join(pieces) == '▁("so"-so.)'
    assert [piece for piece in pieces if piece in SYMBOLS] == list('(""-.)')


def test_training_twice_gives_the_same_files(
    corpus: Path, tmp_path: Path, trained: tuple[AlbertTokenizer, Path]
) -> None:
    """Catches: ids that depend on the order in which threads add up."""
    train_tokenizer([corpus], tmp_path, VocabularyOptions(300), progress=False)
    for path in trained[1].iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_pieces_are_as_good_as_those_of_sentencepiece(
    trained: tuple[AlbertTokenizer, Path],
) -> None:
    """Catches: training on text that is not normalized, on a small sample, without word marks."""
    sentencepiece = pytest.importorskip("sentencepiece")
    normalized = [line.lower().replace("ú", "u") for line in generate_sentences(1500, seed=1)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(normalized),
        model_writer=model,
        vocab_size=300,
        character_coverage=0.99995,
        minloglevel=2,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        control_symbols=list(SPECIAL_PIECES[2:]),
        num_threads=1,
        user_defined_symbols=list(SYMBOLS),
    )
    reference = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    held_out = generate_sentences(300, seed=4)
    ours = trained[0](held_out, add_special_tokens=False)["input_ids"]
    theirs = [reference.encode(line.lower().replace("ú", "u")) for line in held_out]
    assert sum(map(len, ours)) < 1.03 * sum(map(len, theirs))
    assert not any(1 in row for row in trained[0](held_out)["input_ids"])


@pytest.mark.parametrize(("coverage", "known"), [(0.999, {"ж"}), (1.0, set("ж日本語"))])
def test_rare_characters_are_unknown(tmp_path: Path, coverage: float, known: set[str]) -> None:
    """Catches: pieces for every stray character of a web corpus, none for a frequent one."""
    file = tmp_path / "a.txt"
    lines = [*generate_sentences(500, seed=1), "日本語", "ж" * 50]
    file.write_text("\n".join(lines), encoding="utf-8")
    options = VocabularyOptions(150, character_coverage=coverage)
    tokenizer = train_tokenizer([file], tmp_path / "t", options, progress=False)
    assert set("".join(tokenizer.get_vocab())) & set("ж日本語") == known


def test_a_sample_is_taken_evenly(tmp_path: Path) -> None:
    """Catches: a sample of the first sentences only, a larger sample than asked for."""
    file = tmp_path / "a.txt"
    # The first word changes every 100 lines; the second one alternates.
    words = [(f"{'abcdefghij'[i // 100]}zu", "meko" if i % 2 else "tiro") for i in range(1000)]
    file.write_text("\n".join(f"{a} {a}n {b} {b}n" for a, b in words))
    first_words = {f"{letter}zu" for letter in "abcdefghij"}
    for max_sentences, expected in (
        (1000, {*first_words, "meko", "tiro"}),
        (10**9, {*first_words, "meko", "tiro"}),
        (500, {*first_words, "tiro"}),
    ):
        options = VocabularyOptions(50, max_sentences=max_sentences)
        tokenizer = train_tokenizer([file], tmp_path / "t", options, progress=False)
        vocabulary = tokenizer.get_vocab()
        learned = {word for word in [*first_words, "meko", "tiro"] if f"▁{word}" in vocabulary}
        assert learned == expected


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"vocab_size": 10},
            r"vocab_size=10 must be above \d+: 5 special tokens, 8 symbols, and \d+ characters",
        ),
        (
            {"vocab_size": 10**6},
            r"vocab_size=1000000 is too large: the corpus has only \d+ pieces; use that number",
        ),
        ({"character_coverage": 1.5}, r"character_coverage=1\.5 must be above 0 and at most 1"),
        ({"max_sentences": 0}, "max_sentences=0 must be at least 1"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    tmp_path: Path, corpus: Path, options: dict[str, Any], match: str
) -> None:
    """Catches: a panic in the Rust library, a vocabulary that is too small, files left behind."""
    with pytest.raises(ValueError, match=match):
        train_tokenizer([corpus], tmp_path / "t", VocabularyOptions(**options), progress=False)
    assert not (tmp_path / "t").exists()


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    """Catches: a tokenizer without pieces."""
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match="no text in"):
        train_tokenizer([tmp_path], tmp_path / "t", progress=False)


def test_the_smallest_vocabulary_has_every_character(tmp_path: Path, corpus: Path) -> None:
    """Catches: a limit that is off by one."""
    with pytest.raises(ValueError, match="must be above") as error:
        train_tokenizer([corpus], tmp_path, VocabularyOptions(13), progress=False)
    smallest = int(str(error.value).split("above ")[1].split(":")[0]) + 1
    tokenizer = train_tokenizer([corpus], tmp_path, VocabularyOptions(smallest), progress=False)
    assert len(tokenizer) == smallest
    sentences = corpus.read_text(encoding="utf-8").split("\n")
    assert not any(1 in row for row in tokenizer(sentences)["input_ids"])
