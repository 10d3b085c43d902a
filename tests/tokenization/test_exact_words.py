"""`ExactWords` against the sentencepiece package, and when it is needed."""

from pathlib import Path

import sentencepiece
from helpers.google_tokenizer import google_ids, numeric_texts
from tokenizers import pre_tokenizers

from albert_torch.tokenization.exact_words import ExactWords
from albert_torch.tokenization.sentencepiece import SentencePiece


def test_exact_words_equal_sentencepiece_and_the_comma_rule(
    model_file: Path, processor: "sentencepiece.SentencePieceProcessor"
) -> None:
    """Catches: 64-bit sums, scores per word, wrong scores of symbols, unknowns that do not fuse."""
    model = SentencePiece.from_bytes(model_file.read_bytes(), "spiece.model")
    backend = model.pipeline(True, False, True)
    exact_words = pre_tokenizers.PreTokenizer.custom(ExactWords(model))
    backend.pre_tokenizer = pre_tokenizers.Sequence([backend.pre_tokenizer, exact_words])
    texts = [
        *numeric_texts(1500),
        "the cat (sat) 漢字 on 漢漢a 2010,",
        "666666 hahaha hohoho, aaaaaa (1,000) ((7,7)",
    ]
    ids = [encoding.ids for encoding in backend.encode_batch(texts)]
    assert ids == [google_ids(processor, text) for text in texts]


def test_rows_without_suspects_are_exact_already(
    model_file: Path, processor: "sentencepiece.SentencePieceProcessor"
) -> None:
    """Catches: suspects that do not include a piece with a comma or a tie, or that never occur."""
    model = SentencePiece.from_bytes(model_file.read_bytes(), "spiece.model")
    suspects = ExactWords(model).suspects
    texts = numeric_texts(4000)
    encodings = model.pipeline(True, False, True).encode_batch_fast(texts)
    certain_count = 0
    for text, encoding in zip(texts, encodings, strict=True):
        if suspects.isdisjoint(encoding.ids):
            assert encoding.ids == google_ids(processor, text)
            certain_count += 1
    assert 0 < certain_count < len(texts)
