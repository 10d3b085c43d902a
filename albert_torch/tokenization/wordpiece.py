"""BERT's WordPiece tokenizer, from a vocab.txt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers


def build_wordpiece(file: Path, settings: Mapping[str, Any]) -> Tokenizer:
    """Return BERT's pipeline with the vocabulary of a file.

    Args:
        file: A UTF-8 file with one piece per line.
        settings: The settings of the tokenizer, of which `unk_token`, `do_lower_case`,
            `strip_accents` and `tokenize_chinese_chars` are used.

    Raises:
        ValueError: The file is not UTF-8 text, or does not contain the unknown token.
    """
    try:
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text ({error}); download it again") from error
    vocabulary = {line.rstrip("\r"): number for number, line in enumerate(lines)}
    unk_token = settings["unk_token"]
    if unk_token not in vocabulary:
        raise ValueError(
            f"{file} is not a WordPiece vocabulary: none of its {len(vocabulary)} lines is "
            f"{unk_token!r}; pass the right file, or set unk_token"
        )
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unk_token))
    tokenizer.normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=settings["tokenize_chinese_chars"],
        strip_accents=settings["strip_accents"],
        lowercase=settings["do_lower_case"],
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer
