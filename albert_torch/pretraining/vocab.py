"""Training of a tokenizer: a SentencePiece vocabulary learned from a corpus (section 4.1)."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.trainers import UnigramTrainer
from tqdm import tqdm

from albert_torch.pretraining.corpus import CorpusFormat, read_sentences
from albert_torch.tokenization.sentencepiece import SPACE, SentencePiece
from albert_torch.tokenization.tokenizer import AlbertTokenizer

SPECIAL_PIECES = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
UNKNOWN_ID = SPECIAL_PIECES.index("<unk>")
# These are always pieces of their own, as in the published vocabularies.
SYMBOLS = ("(", ")", '"', "-", ".", "–", "£", "€")
FIXED_PIECES = (*SPECIAL_PIECES, *SYMBOLS)
# The Rust library gives the pieces that it did not learn scores that are this far apart.
UNLEARNED_SCORE_STEP = 1e-4


@dataclass(frozen=True)
class VocabularyOptions:
    """How a vocabulary is learned. The defaults are those of the published vocabularies.

    Attributes:
        vocab_size: The number of pieces, special tokens included.
        do_lower_case: Whether capital and small letters are the same.
        keep_accents: Whether letters with and without accents are different.
        character_coverage: The share of the text's characters that must be in the vocabulary. The
            rarest of the others become unknown.
        max_sentences: The number of sentences, taken evenly from the corpus, that the pieces are
            learned from. Each different word in them needs about a kilobyte of memory.

    Raises:
        ValueError: A number is out of range.
    """

    vocab_size: int = 30_000
    do_lower_case: bool = True
    keep_accents: bool = False
    character_coverage: float = 0.99995
    max_sentences: int = 2_000_000

    def __post_init__(self) -> None:
        if self.max_sentences < 1:
            raise ValueError(f"max_sentences={self.max_sentences} must be at least 1")
        if not 0 < self.character_coverage <= 1:
            raise ValueError(
                f"character_coverage={self.character_coverage} must be above 0 and at most 1; "
                "Google's vocabularies have 0.99995"
            )


def train_tokenizer(
    paths: Sequence[str | Path],
    directory: str | os.PathLike[str],
    options: VocabularyOptions | None = None,
    corpus_format: CorpusFormat | None = None,
    *,
    progress: bool = True,
) -> AlbertTokenizer:
    """Learn the pieces of a corpus and save a tokenizer with them.

    The vocabulary is laid out as the published ones: five special tokens, eight symbols, then what
    was learned. Pieces that Google's tokenizer would cut (with a comma after a digit) are not
    learned. Characters are normalized with NFKD (not with `keep_accents`), not with
    SentencePiece's own table. The corpus is read twice and never held in memory.

    Args:
        paths: Files, directories and data sets, as in `corpus.read_sentences`.
        directory: Where the tokenizer is saved. It is created if necessary.
        options: The size of the vocabulary and more; `VocabularyOptions()` by default.
        corpus_format: How the text is stored; `CorpusFormat()` by default.
        progress: Show progress bars in a terminal.

    Returns:
        The tokenizer that was saved.

    Raises:
        ValueError: The corpus is too small for the size of the vocabulary, or has more characters
            than fit into it.
        FileNotFoundError: A path of the corpus does not exist.
    """
    options = options or VocabularyOptions()
    corpus = _TrainingCorpus(paths, corpus_format or CorpusFormat(), progress)
    no_pieces = [(piece, 0.0) for piece in SPECIAL_PIECES]
    pipeline = SentencePiece(no_pieces, UNKNOWN_ID, frozenset(SPECIAL_PIECES), b"").pipeline(
        options.do_lower_case, options.keep_accents, remove_space=True
    )

    character_counts, sentence_count = corpus.count_characters()
    normalized_counts = _count_normalized(character_counts, pipeline.normalizer)
    alphabet = _most_frequent(normalized_counts, options.character_coverage)
    smallest = len(FIXED_PIECES) + len(alphabet)
    if options.vocab_size <= smallest:
        raise ValueError(
            f"vocab_size={options.vocab_size} must be above {smallest}: {len(SPECIAL_PIECES)} "
            f"special tokens, {len(SYMBOLS)} symbols, and {len(alphabet)} characters of the "
            "corpus; a lower character_coverage leaves out rare characters"
        )

    _restrict_to_alphabet(pipeline, alphabet)
    trainer = UnigramTrainer(
        vocab_size=options.vocab_size,
        special_tokens=list(FIXED_PIECES),
        unk_token="<unk>",
        initial_alphabet=alphabet,
        show_progress=progress,
    )
    sample = corpus.sample(options.max_sentences, sentence_count)
    pipeline.train_from_iterator(sample, trainer)
    pieces = [
        (piece, round(score, 6)) for piece, score in json.loads(pipeline.to_str())["model"]["vocab"]
    ]
    if len(pieces) < options.vocab_size:
        raise ValueError(
            f"vocab_size={options.vocab_size} is too large: the corpus has only {len(pieces)} "
            "pieces; use that number, or more text"
        )
    fixed, learned = pieces[: len(FIXED_PIECES)], pieces[len(FIXED_PIECES) :]
    model = SentencePiece(
        fixed + _sort_reproducibly(learned, len(alphabet)),
        UNKNOWN_ID,
        frozenset(SPECIAL_PIECES),
        b"",
    )
    tokenizer = AlbertTokenizer(
        model, do_lower_case=options.do_lower_case, keep_accents=options.keep_accents
    )
    tokenizer.save_pretrained(directory)
    return tokenizer


@dataclass
class _TrainingCorpus:
    """The sentences of the corpus, which are read once for each use."""

    paths: Sequence[str | Path]
    corpus_format: CorpusFormat
    progress: bool

    def sentences(self, stage: str) -> Iterator[str]:
        """Yield all sentences, with a progress bar named `stage`."""
        sentences = (
            sentence
            for sentence in read_sentences(self.paths, self.corpus_format)
            if sentence is not None
        )
        disable = None if self.progress else True  # tqdm's None means: shown in a terminal only
        yield from tqdm(sentences, stage, unit=" sentences", unit_scale=True, disable=disable)

    def count_characters(self) -> tuple[Counter[str], int]:
        """Return how often each character occurs, and the number of sentences."""
        counts: Counter[str] = Counter()
        sentence_count = 0
        for sentence in self.sentences("counting characters"):
            counts.update(sentence)
            sentence_count += 1
        return counts, sentence_count

    def sample(self, max_sentences: int, sentence_count: int) -> Iterator[str]:
        """Yield at most `max_sentences` of the `sentence_count` sentences, taken evenly."""
        size = min(max_sentences, sentence_count)
        for number, sentence in enumerate(self.sentences("counting words")):
            # True for `size` numbers of every `sentence_count`, at equal distances.
            if number * size % sentence_count < size:
                yield sentence


def _restrict_to_alphabet(pipeline: Tokenizer, alphabet: Sequence[str]) -> None:
    """Let the trainer see only words of the alphabet, without symbols and digit-comma pairs."""
    others = Regex(f"[^ {_escape([*alphabet, *SYMBOLS])}]")
    pipeline.normalizer = normalizers.Sequence(
        [pipeline.normalizer, normalizers.Replace(others, " ")]
    )
    symbol = pre_tokenizers.Split(Regex(f"[{_escape(SYMBOLS)}]"), "removed")
    comma_after_digit = pre_tokenizers.Split(Regex(r"(?<=\d),"), "isolated")
    pipeline.pre_tokenizer = pre_tokenizers.Sequence(
        [pipeline.pre_tokenizer, symbol, comma_after_digit]
    )


def _sort_reproducibly(
    pieces: list[tuple[str, float]], alphabet_size: int
) -> list[tuple[str, float]]:
    """Return the pieces with ids and scores that are the same in every training, best first.

    The library adds up counts in many threads, so the order of equal scores differs. It gives the
    characters of the alphabet that it did not learn the lowest scores, in steps of
    `UNLEARNED_SCORE_STEP`, in the order of a hash table; here they all get the lowest one.
    """
    lowest = min(score for _, score in pieces)
    learned_from = lowest + UNLEARNED_SCORE_STEP * (alphabet_size + 1)
    scored = [
        (piece, lowest if len(piece) == 1 and score < learned_from else score)
        for piece, score in pieces
    ]
    return sorted(scored, key=_best_first)


def _best_first(piece_and_score: tuple[str, float]) -> tuple[float, str]:
    piece, score = piece_and_score
    return -score, piece


def _most_frequent_first(character_and_count: tuple[str, int]) -> tuple[int, str]:
    character, count = character_and_count
    return -count, character


def _count_normalized(counts: Counter[str], normalizer: normalizers.Normalizer) -> Counter[str]:
    """Return the counts of the characters that the normalizer makes, without white space."""
    normalized_counts: Counter[str] = Counter()
    for character, count in counts.items():
        for normalized in "".join(normalizer.normalize_str(character).split()):
            normalized_counts[normalized] += count
    return normalized_counts


def _most_frequent(counts: Counter[str], coverage: float) -> list[str]:
    """Return the mark of a space and the most frequent characters, without the symbols.

    Args:
        counts: How often each character occurs.
        coverage: The share of all characters that the result must cover.
    """
    needed = coverage * counts.total()
    covered = 0
    alphabet = [SPACE]
    for character, count in sorted(counts.items(), key=_most_frequent_first):
        if covered >= needed:
            break
        covered += count
        alphabet.append(character)
    without_repeats = dict.fromkeys(alphabet)  # the text may contain the mark of a space
    return [character for character in without_repeats if character not in SYMBOLS]


def _escape(characters: Iterable[str]) -> str:
    """Return characters as they are written inside the brackets of a regular expression."""
    return "".join(rf"\x{{{ord(character):x}}}" for character in characters)
