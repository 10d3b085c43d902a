"""`AlbertTokenizer`: text -> ids as Google's tokenizer, called like a tokenizer of transformers."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Tokenizer, processors

from albert_torch.hub import Source
from albert_torch.tokenization.base import TokenizerBase
from albert_torch.tokenization.batch_encoding import BatchEncoding, to_tensors
from albert_torch.tokenization.loading import VOCABULARY_FILES, load_tokenizer_parts
from albert_torch.tokenization.padding import SIDES, pad_columns
from albert_torch.tokenization.row_encoder import (
    TRUNCATION_STRATEGIES,
    EncodingRequest,
    RowEncoder,
    Truncation,
    declare_special_tokens,
    with_overflow,
)
from albert_torch.tokenization.sentencepiece import SentencePiece
from albert_torch.tokenization.settings import (
    PIPELINE_SETTINGS,
    SENTENCEPIECE_SPECIAL_TOKENS,
    WORDPIECE_SPECIAL_TOKENS,
    resolve_choice,
    resolve_settings,
)
from albert_torch.tokenization.text_input import TextInput, TextOrWords, make_rows

if TYPE_CHECKING:
    from torch import Tensor


class AlbertTokenizer(TokenizerBase):
    """Encodes text for ALBERT: `tokenizer(text)` returns a `BatchEncoding`.

    Use `from_pretrained` to create one.

    Ids are those of google-research/albert: its clean-up of text, SentencePiece, then the comma of
    "2010," as a token of its own. Special tokens in the text count as such. There are two known
    differences. Fifteen characters that are younger than the Unicode tables of the Rust library
    (U+A7F2-A7F4, U+107A5, U+1F16C, U+1FBF0-1FBF9) are unknown. With `keep_accents`, a ligature
    before a combining mark may be split in another way.

    With a vocab.txt it is BERT's WordPiece tokenizer, which the Chinese ALBERT models use.
    """

    def __init__(
        self,
        model: SentencePiece | Tokenizer,
        added_tokens: Sequence[AddedToken] = (),
        **settings: Any,
    ) -> None:
        """Build a tokenizer around a model.

        Args:
            model: A SentencePiece model, or a complete tokenizer of the Rust library.
            added_tokens: Tokens besides those of the model and the special ones, in the order of
                their ids.
            **settings: Special tokens by name (`cls_token`, ...), and the settings of
                `settings.DEFAULT_SETTINGS`.

        Raises:
            TypeError: There is no setting of that name.
            ValueError: A setting has the wrong type or value.
        """
        is_wordpiece = isinstance(model, Tokenizer) and model.token_to_id("<pad>") is None
        special_tokens = WORDPIECE_SPECIAL_TOKENS if is_wordpiece else SENTENCEPIECE_SPECIAL_TOKENS
        self.settings = resolve_settings(settings, special_tokens)
        for name, value in self.settings.items():
            if name not in PIPELINE_SETTINGS:
                setattr(self, name, value)
        resolve_choice("padding_side", self.padding_side, SIDES)
        resolve_choice("truncation_side", self.truncation_side, SIDES)
        do_lower_case = self.settings["do_lower_case"]
        if isinstance(model, SentencePiece):
            self.backend_tokenizer = model.pipeline(
                do_lower_case, self.settings["keep_accents"], self.settings["remove_space"]
            )
            self._row_encoder = RowEncoder(model, do_lower_case)
        else:
            self.backend_tokenizer = model
            self._row_encoder = RowEncoder(None, do_lower_case)
        self.backend_tokenizer.add_tokens(list(added_tokens))
        declare_special_tokens(self.backend_tokenizer, self.settings)
        if isinstance(model, SentencePiece) or self.backend_tokenizer.post_processor is None:
            self.backend_tokenizer.post_processor = processors.BertProcessing(
                (self.sep_token, self.sep_token_id), (self.cls_token, self.cls_token_id)
            )

    @classmethod
    def from_pretrained(  # noqa: PLR0913  # the arguments of transformers
        cls,
        name_or_dir: str | os.PathLike[str],
        *,
        revision: str | None = None,
        subfolder: str = "",
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        **overrides: Any,
    ) -> AlbertTokenizer:
        """Read a tokenizer from a directory, a file or the Hub.

        Files are looked for in this order: `tokenizer.json`, `spiece.model`, `vocab.txt`. Settings
        are read from `tokenizer_config.json`, if there is one.

        Args:
            name_or_dir: A directory, the name of a model on the Hub, or one of these three files.
            revision: A branch, tag or commit on the Hub.
            subfolder: The folder of the directory or repository that contains the files.
            cache_dir: Where downloads are kept; by default in the cache of `huggingface_hub`.
            token: An access token for private and gated models.
            local_files_only: Make no request to the Hub.
            force_download: Download files again that are in the cache already.
            **overrides: Settings: `do_lower_case`, `keep_accents`, `remove_space`,
                `model_max_length`, `padding_side`, `cls_token`, ...

        Raises:
            FileNotFoundError: There is no such model, or it has no tokenizer.
            ValueError: A file is damaged, or a setting has the wrong type.
            TypeError: There is no setting of that name.
        """
        path = Path(name_or_dir)
        file_names: tuple[str, ...] = VOCABULARY_FILES
        if path.is_file():
            file_names = (path.name,)
            name_or_dir = path.parent
        source = Source(
            name_or_dir, revision, subfolder, cache_dir, token, local_files_only, force_download
        )
        parts = load_tokenizer_parts(source, file_names, overrides)
        return cls(parts.model, parts.added_tokens, **parts.settings)

    # ---- encoding ----

    def __call__(  # noqa: PLR0913  # the arguments of transformers
        self,
        text: TextInput,
        text_pair: TextOrWords | Sequence[TextOrWords] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool = True,
        return_attention_mask: bool = True,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
    ) -> BatchEncoding:
        """Encode a text, a pair of texts, or a batch of either.

        Arguments and results are those of transformers, except that `token_type_ids` are returned
        by default.

        Args:
            text: A text, a list of texts, or a list of pairs of texts.
            text_pair: The second text of each pair: a text, or a list as long as `text`.
            add_special_tokens: Add [CLS] and [SEP].
            padding: True or "longest": pad to the longest row. "max_length": pad to `max_length`.
                False or "do_not_pad": do not pad.
            truncation: True or "longest_first": remove tokens from the longer text of a pair.
                "only_first" or "only_second": remove tokens from that text. False or
                "do_not_truncate": do not truncate. By default, rows are truncated if `max_length`
                is given and `padding` is not.
            max_length: The length in tokens to truncate or pad to; `model_max_length` by default.
            stride: The number of tokens that the rows of one text share, if
                `return_overflowing_tokens` is set.
            is_split_into_words: A text is a list of words instead of a string.
            pad_to_multiple_of: Round the padded length up to a multiple of this number.
            padding_side: "right" or "left"; by default as in the setting of that name.
            return_tensors: "pt": return tensors instead of lists.
            return_token_type_ids: Return `token_type_ids`, 1 for the second text and 0 elsewhere.
            return_attention_mask: Return `attention_mask`, 0 for padding and 1 elsewhere.
            return_overflowing_tokens: Return what does not fit into a row as further rows, and
                `overflow_to_sample_mapping`, the number of each row's text.
            return_special_tokens_mask: Return `special_tokens_mask`, 1 for special tokens.
            return_offsets_mapping: Return `offset_mapping`, the start and end of each token in its
                text, in characters.
            return_length: Return `length`, the number of tokens in each row.

        Returns:
            A list of rows per column, or a tensor of shape (rows, tokens). For a single text, and
            without `return_tensors` and `return_overflowing_tokens`, a flat list per column.

        Raises:
            ValueError: The text cannot be encoded, or an argument has an impossible value.
            TypeError: Something is not a text.
        """
        rows, is_batch = make_rows(text, text_pair, is_split_into_words)
        if truncation is None and max_length is not None and padding is False:
            truncation = True
        target_length = self.model_max_length if max_length is None else max_length
        request = EncodingRequest(
            rows,
            self._truncation(rows, truncation, target_length, stride, add_special_tokens),
            is_split_into_words,
            add_special_tokens,
        )
        # The faster methods of the Rust library return no offsets, and wrong types of overflow.
        need_offsets = return_offsets_mapping or return_overflowing_tokens
        encodings = self._row_encoder.encode(self.backend_tokenizer, request, need_offsets)
        if return_overflowing_tokens:
            encodings, text_numbers = with_overflow(encodings)

        data: dict[str, Any] = {"input_ids": [encoding.ids for encoding in encodings]}
        if return_token_type_ids:
            data["token_type_ids"] = [encoding.type_ids for encoding in encodings]
        if return_attention_mask:
            data["attention_mask"] = [[1] * len(row) for row in data["input_ids"]]
        if return_special_tokens_mask:
            data["special_tokens_mask"] = [encoding.special_tokens_mask for encoding in encodings]
        if return_offsets_mapping:
            data["offset_mapping"] = [encoding.offsets for encoding in encodings]

        padding_options = self._padding_options(
            padding, target_length, pad_to_multiple_of, padding_side
        )
        padded_length = pad_columns(data, padding_options)
        truncates_and_pads = request.truncation is not None and padded_length > 0
        if truncates_and_pads and max_length and max_length % (pad_to_multiple_of or 1):
            raise ValueError(
                f"{max_length=} must be a multiple of {pad_to_multiple_of=} in order to truncate "
                "and pad; change one of them"
            )
        if return_length:
            data["length"] = [len(row) for row in data["input_ids"]]
        if return_overflowing_tokens:
            data["overflow_to_sample_mapping"] = text_numbers
        if return_tensors is None and not is_batch and not return_overflowing_tokens:
            data = {name: value if name == "length" else value[0] for name, value in data.items()}

        make_encodings = functools.partial(
            self._row_encoder.encode_and_pad,
            self.backend_tokenizer,
            request,
            encodings if need_offsets else None,
            {
                "length": padded_length,
                "direction": padding_options.side,
                "pad_id": self.pad_token_id,
                "pad_token": self.pad_token,
            },
        )
        return BatchEncoding(to_tensors(data, return_tensors), make_encodings)

    def _truncation(
        self,
        rows: list[Any],
        truncation: bool | str | None,
        length: int,
        stride: int,
        add_special_tokens: bool,
    ) -> Truncation | None:
        """Check and complete the arguments of a call."""
        strategy = resolve_choice("truncation", truncation, TRUNCATION_STRATEGIES)
        if strategy == "do_not_truncate":
            return None
        special_tokens = 0
        if add_special_tokens:
            has_pairs = any(isinstance(row, tuple) for row in rows)
            special_tokens = self.num_special_tokens_to_add(has_pairs)
        options = Truncation(length, stride, strategy, self.truncation_side)
        options.check_room(special_tokens)
        return options

    # ---- other ways to call it ----

    def encode(
        self,
        text: TextInput,
        text_pair: TextOrWords | Sequence[TextOrWords] | None = None,
        **kwargs: Any,
    ) -> list[int] | list[list[int]] | Tensor:
        """Return the `input_ids` of `tokenizer(text, text_pair, **kwargs)`."""
        ids: list[int] | list[list[int]] | Tensor = self(text, text_pair, **kwargs)["input_ids"]
        return ids

    def tokenize(
        self,
        text: TextOrWords,
        pair: TextOrWords | None = None,
        add_special_tokens: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """Return the pieces of one text or pair; `kwargs` as for a call of the tokenizer."""
        return self(text, pair, add_special_tokens=add_special_tokens, **kwargs).tokens()
