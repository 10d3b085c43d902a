"""Text -> token ids as in Google's ALBERT, and back. Nothing here needs torch to be installed."""

from albert_torch.tokenization.batch_encoding import BatchEncoding
from albert_torch.tokenization.tokenizer import AlbertTokenizer

__all__ = ["AlbertTokenizer", "BatchEncoding"]
