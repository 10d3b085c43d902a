"""`TokenizerBase`: ids <-> pieces, special tokens, decoding and saving, around a Rust tokenizer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from tokenizers import AddedToken, Tokenizer

from albert_torch.tokenization.batch_encoding import BatchEncoding, to_list
from albert_torch.tokenization.decoding import clean_up_spaces
from albert_torch.tokenization.padding import PaddingOptions, pad_encoded_inputs
from albert_torch.tokenization.row_encoder import added_tokens_of
from albert_torch.tokenization.saving import write_tokenizer_files
from albert_torch.tokenization.settings import SPECIAL_TOKEN_NAMES

if TYPE_CHECKING:
    from torch import Tensor


class TokenizerBase:
    """Everything of a tokenizer except the encoding of text. Names are those of transformers.

    Attributes:
        backend_tokenizer: The tokenizer of the Rust library.
        settings: All settings, as they were given or by default; see `settings.DEFAULT_SETTINGS`.
        model_max_length: The length to which text is truncated by default, in tokens.
        padding_side: "right" or "left".
        truncation_side: "right" or "left": the side from which tokens are removed.
        clean_up_tokenization_spaces: Whether `decode` removes spaces before punctuation by default.
        model_input_names: The keys of an encoded text that a model takes.
        bos_token: The special token at the start of a text; None if there is none.
        eos_token: The special token at the end of a text; None if there is none.
        unk_token: The piece for unknown text.
        sep_token: The special token after each text.
        pad_token: The special token that fills short rows.
        cls_token: The special token at the start of a row.
        mask_token: The special token that hides a piece.

    Each special token has an id under the same name with `_id` at the end, such as `cls_token_id`.
    """

    backend_tokenizer: Tokenizer
    settings: dict[str, Any]
    model_max_length: int
    padding_side: str
    truncation_side: str
    clean_up_tokenization_spaces: bool
    model_input_names = ("input_ids", "token_type_ids", "attention_mask")
    bos_token: str | None
    eos_token: str | None
    unk_token: str
    sep_token: str
    pad_token: str
    cls_token: str
    mask_token: str

    def __getattr__(self, name: str) -> Any:
        token_name = name.removesuffix("_id")
        if token_name != name and token_name in SPECIAL_TOKEN_NAMES:
            token = getattr(self, token_name)
            return None if token is None else self.convert_tokens_to_ids(token)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    # ---- ids <-> text ----

    def decode(
        self,
        token_ids: int | Sequence[int] | Sequence[Sequence[int]] | Tensor,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str | list[str]:
        """Return the text of ids.

        Args:
            token_ids: One id, the ids of one row, or several rows; also as a tensor.
            skip_special_tokens: Leave out special tokens.
            clean_up_tokenization_spaces: Remove spaces before punctuation and contractions; by
                default as in the setting of that name.

        Returns:
            A string, or a list of strings for several rows.
        """
        ids = to_list(token_ids)
        if isinstance(ids, list) and ids and isinstance(ids[0], list):
            return self.batch_decode(ids, skip_special_tokens, clean_up_tokenization_spaces)
        return self._decode_row(ids, skip_special_tokens, clean_up_tokenization_spaces)

    def batch_decode(
        self,
        sequences: Iterable[Sequence[int]] | Tensor,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """Return the text of each row, as `decode` does for one."""
        return [
            self._decode_row(row, skip_special_tokens, clean_up_tokenization_spaces)
            for row in sequences
        ]

    def _decode_row(
        self, row: Any, skip_special_tokens: bool, clean_up_tokenization_spaces: bool | None
    ) -> str:
        ids = to_list(row)
        if isinstance(ids, int):
            ids = [ids]
        text = self.backend_tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
        if clean_up_tokenization_spaces is None:
            clean_up_tokenization_spaces = self.clean_up_tokenization_spaces
        return clean_up_spaces(text) if clean_up_tokenization_spaces else text

    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int: ...
    @overload
    def convert_tokens_to_ids(self, tokens: list[str] | tuple[str, ...]) -> list[int]: ...
    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> int | list[int]:
        """Return the id of a piece, or the ids of several; `unk_token_id` for unknown ones."""
        if isinstance(tokens, str):
            token_id = self.backend_tokenizer.token_to_id(tokens)
            if token_id is None:
                token_id = self.backend_tokenizer.token_to_id(self.unk_token)
            return token_id  # type: ignore[return-value]  # the unknown token is in every vocabulary
        return [self.convert_tokens_to_ids(token) for token in tokens]

    @overload
    def convert_ids_to_tokens(self, ids: int, skip_special_tokens: bool = False) -> str: ...
    @overload
    def convert_ids_to_tokens(
        self, ids: Sequence[int] | Tensor, skip_special_tokens: bool = False
    ) -> list[str]: ...
    def convert_ids_to_tokens(
        self, ids: int | Sequence[int] | Tensor, skip_special_tokens: bool = False
    ) -> str | list[str]:
        """Return the piece of an id, or the pieces of several.

        Args:
            ids: One id or several, also as a tensor.
            skip_special_tokens: Leave out special tokens, if there are several ids.

        Raises:
            ValueError: An id is not in the vocabulary.
        """
        id_or_ids = to_list(ids)
        if isinstance(id_or_ids, int):
            return self._piece_of(id_or_ids)
        skipped_ids = set(self.all_special_ids) if skip_special_tokens else set()
        return [
            self._piece_of(int(token_id)) for token_id in id_or_ids if token_id not in skipped_ids
        ]

    def _piece_of(self, token_id: int) -> str:
        piece = None
        if 0 <= token_id < len(self):
            piece = self.backend_tokenizer.id_to_token(token_id)
        if piece is None:
            raise ValueError(
                f"id {token_id} is not in the vocabulary, whose ids go from 0 to {len(self) - 1}"
            )
        return piece

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Join pieces to text."""
        return str(self.backend_tokenizer.decoder.decode(list(tokens)))

    # ---- the vocabulary ----

    def get_vocab(self) -> dict[str, int]:
        """Return the id of each piece, added tokens included."""
        return self.backend_tokenizer.get_vocab()

    @property
    def vocab_size(self) -> int:
        """The number of pieces without added tokens. `len(tokenizer)` includes them."""
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=False)

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size()

    def add_tokens(
        self, tokens: str | AddedToken | Sequence[str | AddedToken], special_tokens: bool = False
    ) -> int:
        """Add tokens, which are never split in text.

        The model's embeddings have to be resized afterwards
        (`model.resize_token_embeddings(len(tokenizer))`).

        Args:
            tokens: One token or several.
            special_tokens: Whether they are special tokens, which `decode` can leave out.

        Returns:
            How many of the tokens are new.
        """
        new_tokens = [tokens] if isinstance(tokens, (str, AddedToken)) else list(tokens)
        if special_tokens:
            return self.backend_tokenizer.add_special_tokens(new_tokens)
        return self.backend_tokenizer.add_tokens(new_tokens)

    # ---- special tokens ----

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The special tokens that have a name and are set, by name."""
        tokens = {name: getattr(self, name) for name in SPECIAL_TOKEN_NAMES}
        return {name: token for name, token in tokens.items() if token is not None}

    @property
    def all_special_tokens(self) -> list[str]:
        """All special tokens, those with a name first."""
        others = [
            token.content for token in added_tokens_of(self.backend_tokenizer) if token.special
        ]
        return list(dict.fromkeys([*self.special_tokens_map.values(), *others]))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        return [self.convert_tokens_to_ids(token) for token in self.all_special_tokens]

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Return the number of special tokens that a text, or a pair of texts, gets."""
        return self.backend_tokenizer.num_special_tokens_to_add(pair)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Add special tokens to ids: [CLS] text [SEP], or [CLS] text [SEP] text [SEP]."""
        row = [self.cls_token_id, *token_ids_0, self.sep_token_id]
        if token_ids_1 is not None:
            row += [*token_ids_1, self.sep_token_id]
        return row

    def get_special_tokens_mask(
        self, token_ids: list[int], already_has_special_tokens: bool = True
    ) -> list[int]:
        """Return 1 for each special token of a row and 0 for all others.

        Args:
            token_ids: The row.
            already_has_special_tokens: If false, the result is that of the row with special tokens
                added.
        """
        if not already_has_special_tokens:
            token_ids = self.build_inputs_with_special_tokens(token_ids)
        special_ids = set(self.all_special_ids)
        return [int(token_id in special_ids) for token_id in token_ids]

    # ---- padding and saving ----

    def pad(  # noqa: PLR0913  # the arguments of transformers
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool = True,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """Pad rows to a common length, as data collators of transformers do.

        Columns that the tokenizer does not make, such as labels, are collected but not padded.

        Args:
            encoded_inputs: A list of encoded texts, or one mapping with a list of rows per column.
            padding: As for a call of the tokenizer.
            max_length: As for a call of the tokenizer.
            pad_to_multiple_of: As for a call of the tokenizer.
            padding_side: As for a call of the tokenizer.
            return_attention_mask: Add `attention_mask` if it is missing.
            return_tensors: "pt": return tensors instead of lists.

        Raises:
            ValueError: There are no `input_ids`, or an argument has an impossible value.
        """
        target_length = self.model_max_length if max_length is None else max_length
        options = self._padding_options(padding, target_length, pad_to_multiple_of, padding_side)
        return pad_encoded_inputs(encoded_inputs, options, return_attention_mask, return_tensors)

    def _padding_options(
        self,
        padding: bool | str,
        length: int,
        pad_to_multiple_of: int | None,
        padding_side: str | None,
    ) -> PaddingOptions:
        """Complete the arguments of a call."""
        side = padding_side or self.padding_side
        return PaddingOptions(padding, length, pad_to_multiple_of, side, self.pad_token_id)

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Write files that `from_pretrained` of this class and of transformers read.

        These are tokenizer.json, tokenizer_config.json and special_tokens_map.json. A process that
        is killed while it saves leaves the previous file or the new one, never half of one.

        Args:
            save_directory: The directory. It is created if necessary.

        Raises:
            OSError: The files cannot be written, for example because the disk is full.
        """
        settings = {name: getattr(self, name, value) for name, value in self.settings.items()}
        config = {**settings, "model_input_names": self.model_input_names}
        write_tokenizer_files(
            Path(save_directory), self.backend_tokenizer, config, self.special_tokens_map
        )
