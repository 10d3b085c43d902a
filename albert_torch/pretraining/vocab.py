"""A corpus -> a tokenizer of its own: a SentencePiece unigram vocabulary with ALBERT's pipeline around it (§4.1)."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import Regex, normalizers, pre_tokenizers
from tokenizers.trainers import UnigramTrainer
from tqdm import tqdm

from albert_torch.pretraining.corpus import sentences
from albert_torch.tokenization.sentencepiece import SPACE, SentencePiece
from albert_torch.tokenization.tokenizer import AlbertTokenizer

SPECIAL = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
SYMBOLS = (
    "(",
    ")",
    '"',
    "-",
    ".",
    "–",
    "£",
    "€",
)  # always pieces of their own, as in the published vocabularies


def train_tokenizer(
    paths: Sequence[str | Path],
    directory: str | os.PathLike[str],
    *,
    vocab_size: int = 30000,
    lowercase: bool = True,
    keep_accents: bool = False,
    character_coverage: float = 0.99995,
    sample: int = 2_000_000,
    progress: bool = True,
    **options: str,
) -> AlbertTokenizer:
    """Learn the pieces of a corpus (`paths` and `options` as `corpus.sentences` takes them) and write a tokenizer.

    As the published vocabularies: five special tokens, eight symbols, and what Google's tokenizer would cut (a comma
    after a digit) is not learned. The rarest characters, at most 1 - `character_coverage` of the text, are unknown.
    Characters are made alike by NFKD, so not with `keep_accents`; SentencePiece's own map is not used. The corpus is
    read twice and not held, but the different words of `sample` sentences, taken evenly from it, are: a kilobyte each.

    Raises `ValueError` for a size that the corpus is too small for, or that is too small for its characters.
    """
    if sample < 1:
        raise ValueError(f"{sample=} must be at least 1 sentence")
    if not 0 < character_coverage <= 1:
        raise ValueError(
            f"{character_coverage=} must be above 0 and at most 1; Google's is 0.99995"
        )
    blank = SentencePiece([(piece, 0.0) for piece in SPECIAL], 1, frozenset(SPECIAL), b"")
    pipeline = blank.pipeline(lowercase, keep_accents, remove_space=True)

    counts: Counter[str] = Counter()
    number = 0
    for text in _texts("counting characters", paths, options, progress):
        counts.update(text)
        number += 1
    alphabet = _alphabet(_normalized(counts, pipeline.normalizer), character_coverage)
    fixed = [*SPECIAL, *SYMBOLS]
    if vocab_size <= (least := len(fixed) + len(alphabet)):
        raise ValueError(
            f"{vocab_size=} must be above {least}: {len(SPECIAL)} special tokens, {len(SYMBOLS)} symbols, and "
            f"{len(alphabet)} characters of the corpus; a lower character_coverage leaves out rare ones"
        )
    rare = normalizers.Replace(Regex(f"[^ {_escaped([*alphabet, *SYMBOLS])}]"), " ")
    pipeline.normalizer = normalizers.Sequence([pipeline.normalizer, rare])
    symbols = pre_tokenizers.Split(Regex(f"[{_escaped(SYMBOLS)}]"), "removed")
    commas = pre_tokenizers.Split(Regex(r"(?<=\d),"), "isolated")
    pipeline.pre_tokenizer = pre_tokenizers.Sequence([pipeline.pre_tokenizer, symbols, commas])
    trainer = UnigramTrainer(
        vocab_size=vocab_size,
        special_tokens=fixed,
        unk_token="<unk>",
        initial_alphabet=alphabet,
        show_progress=progress,
    )
    share = min(sample, number)
    texts = enumerate(_texts("counting words", paths, options, progress))
    pipeline.train_from_iterator((text for i, text in texts if i * share % number < share), trainer)
    vocab = [
        (piece, round(score, 6)) for piece, score in json.loads(pipeline.to_str())["model"]["vocab"]
    ]
    if len(vocab) < vocab_size:
        raise ValueError(
            f"{vocab_size=}: the corpus has only {len(vocab)} pieces; give that, or more text"
        )
    learned = _reproducible(vocab[len(fixed) :], len(alphabet))
    model = SentencePiece(
        vocab[: len(fixed)] + learned, SPECIAL.index("<unk>"), frozenset(SPECIAL), b""
    )
    tokenizer = AlbertTokenizer(model, do_lower_case=lowercase, keep_accents=keep_accents)
    tokenizer.save_pretrained(directory)
    return tokenizer


def _reproducible(pieces: list[tuple[str, float]], characters: int) -> list[tuple[str, float]]:
    """The pieces with the same ids and scores at every run, best first.

    The library sums on many threads, and gives the characters that it did not learn the lowest scores, 0.0001 apart, in
    the order of a hash table.
    """
    least = min(score for _, score in pieces)
    unlearned = least + 1e-4 * (characters + 1)
    pieces = [
        (piece, least if len(piece) == 1 and score < unlearned else score)
        for piece, score in pieces
    ]
    return sorted(pieces, key=lambda item: (-item[1], item[0]))


def _texts(
    stage: str, paths: Sequence[str | Path], options: dict[str, str], progress: bool
) -> Iterator[str]:
    corpus = (text for text in sentences(paths, **options) if text is not None)
    yield from tqdm(
        corpus, stage, unit=" sentences", unit_scale=True, disable=None if progress else True
    )


def _normalized(counts: Counter[str], normalizer: normalizers.Normalizer) -> Counter[str]:
    """The same counts of the characters that the normalizer makes of each, without spaces."""
    found: Counter[str] = Counter()
    for character, count in counts.items():
        for part in "".join(normalizer.normalize_str(character).split()):
            found[part] += count
    return found


def _alphabet(counts: Counter[str], coverage: float) -> list[str]:
    """The mark of a space, and the most frequent characters, a share of `coverage` of all; not the symbols."""
    total, covered = counts.total(), 0
    found = [SPACE]
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if covered >= coverage * total:
            break
        covered += count
        found.append(character)
    return [character for character in dict.fromkeys(found) if character not in SYMBOLS]


def _escaped(characters: Iterable[str]) -> str:
    return "".join(rf"\x{{{ord(character):x}}}" for character in characters)
