"""Text <-> token ids, as in ALBERT's original tokenizer."""

from albert_torch.tokenization.tokenizer import AlbertTokenizer

__all__ = ["AlbertTokenizer"]
