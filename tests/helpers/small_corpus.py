"""Small text files, and a tokenizer that knows letters and a few longer pieces."""

import random
from pathlib import Path

from albert_torch.tokenization.sentencepiece import SentencePiece
from albert_torch.tokenization.tokenizer import AlbertTokenizer

# Three documents, with spaces around lines, blank lines and characters of several bytes.
TEXT = "Émile came .\nHe saw £5 .\n\n\n  A 日本 tale .  \n \t\nThe end"
SENTENCES = ["Émile came .", "He saw £5 .", None, "A 日本 tale .", None, "The end", None]

SPECIAL_PIECES = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
LONGER_PIECES = [("▁", -2.0), ("▁the", -1.0), ("an", -1.5), ("▁sentence", -1.0)]
CHARACTERS = "abcdefghijklmnopqrstuvwxyz.,0123456789"


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """Write a file, and the directories above it; line ends stay as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def letter_tokenizer() -> AlbertTokenizer:
    """A SentencePiece tokenizer without a map of characters."""
    pieces = [
        *((piece, 0.0) for piece in SPECIAL_PIECES),
        *LONGER_PIECES,
        *((character, -3.0) for character in CHARACTERS),
    ]
    return AlbertTokenizer(SentencePiece(pieces, 1, frozenset(SPECIAL_PIECES), b""))


def write_documents(path: Path) -> Path:
    """Write documents of 1 to 30 sentences.

    One of the sentences has no token (it consists of combining marks), nor has one of the
    documents.
    """
    rng = random.Random(0)
    lines = []
    for document in range(12):
        lines += [
            f"the sentence {rng.randrange(10**6)} of {document}" for _ in range(rng.randint(1, 30))
        ]
        lines.append("")
    lines[3] = "\u0301\u0300"
    return write(path, "\n".join([*lines, "\u0301", "", "the end"]))


def tokenize_documents(file: Path, tokenizer: AlbertTokenizer) -> list[list[list[int]]]:
    """Return documents of sentences of ids, as one would write it if memory did not matter."""
    documents = []
    for text in file.read_text(encoding="utf-8").split("\n\n"):
        sentences = [tokenizer.encode(line, add_special_tokens=False) for line in text.split("\n")]
        documents.append([ids for ids in sentences if ids])
    return [document for document in documents if document]
