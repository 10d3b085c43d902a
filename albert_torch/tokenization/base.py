"""Tokens <-> ids, special tokens, decoding, saving, settings: what a tokenizer does beside reading text."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from albert_torch.files import atomic_write_text
from albert_torch.tokenization.batch_encoding import to_list

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
ENGLISH = dict(
    zip(NAMED, ("[CLS]", "[SEP]", "<unk>", "[SEP]", "<pad>", "[CLS]", "[MASK]"), strict=True)
)
WORDPIECE = {
    **ENGLISH,
    "bos_token": None,
    "eos_token": None,
    "unk_token": "[UNK]",
    "pad_token": "[PAD]",
}
DEFAULTS: dict[str, Any] = {
    "do_lower_case": True,
    "keep_accents": False,
    "remove_space": True,
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "model_max_length": 512,
    "padding_side": "right",
    "truncation_side": "right",
    "clean_up_tokenization_spaces": False,
}
PIPELINE = (
    "do_lower_case",
    "keep_accents",
    "remove_space",
    "strip_accents",
    "tokenize_chinese_chars",
)
CLEAN_UP = {f" {end}": end for end in (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re")} | {
    " ' ": "'"
}


class TokenizerBase:
    """The part of a tokenizer around its Rust `backend_tokenizer`; the names are those of transformers.

    Attributes beside those below: `cls_token` and `cls_token_id`, and so for bos, eos, unk, sep, pad and mask.
    """

    model_max_length: int
    padding_side: str
    truncation_side: str
    clean_up_tokenization_spaces: bool
    model_input_names = ("input_ids", "token_type_ids", "attention_mask")
    settings: dict[str, Any]
    backend_tokenizer: Tokenizer

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> Any:
        """The text of one row of ids (or one id), or a list of texts for a batch; lists or tensors."""
        ids = to_list(token_ids)
        ids = [ids] if isinstance(ids, int) else ids
        if ids and isinstance(ids[0], (list, tuple)):
            return [
                self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in ids
            ]
        text = self.backend_tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
        if (
            self.clean_up_tokenization_spaces
            if clean_up_tokenization_spaces is None
            else clean_up_tokenization_spaces
        ):
            for spaced, joined in CLEAN_UP.items():
                text = text.replace(spaced, joined)
        return text

    def batch_decode(self, sequences: Any, **kwargs: Any) -> list[str]:
        """`decode` for each row."""
        return [self.decode(row, **kwargs) for row in sequences]

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        """The id of a piece, or a list of ids; `unk_token_id` for what is no piece."""
        if isinstance(tokens, str):
            found = self.backend_tokenizer.token_to_id(tokens)
            return self.backend_tokenizer.token_to_id(self.unk_token) if found is None else found
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The piece of an id, or a list of pieces. Raises ValueError for an id outside the vocabulary."""
        ids = to_list(ids)
        if isinstance(ids, int):
            token = self.backend_tokenizer.id_to_token(ids) if 0 <= ids < len(self) else None
            if token is None:
                raise ValueError(f"id {ids} is none of the vocabulary's 0 to {len(self) - 1}")
            return token
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        return [self.convert_ids_to_tokens(int(i)) for i in ids if i not in skipped]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Pieces joined to text."""
        return str(self.backend_tokenizer.decoder.decode(list(tokens)))

    def get_vocab(self) -> dict[str, int]:
        """Every piece, added tokens too, with its id."""
        return self.backend_tokenizer.get_vocab()

    @property
    def vocab_size(self) -> int:
        """How many pieces there are, without added tokens; `len` counts those too."""
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=False)

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size()

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_token_id") and name[:-3] in NAMED:
            token = getattr(self, name[:-3])
            return None if token is None else self.convert_tokens_to_ids(token)
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The named special tokens that are set."""
        return {name: getattr(self, name) for name in NAMED if getattr(self, name) is not None}

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once, the named ones first."""
        extra = [token.content for token in self._added if token.special]
        return list(dict.fromkeys([*self.special_tokens_map.values(), *extra]))

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids."""
        return [self.convert_tokens_to_ids(token) for token in self.all_special_tokens]

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens a text, or a pair, gets."""
        return self.backend_tokenizer.num_special_tokens_to_add(pair)

    def build_inputs_with_special_tokens(
        self, first: list[int], second: list[int] | None = None
    ) -> list[int]:
        """[CLS] first [SEP], or [CLS] first [SEP] second [SEP]."""
        rest = [] if second is None else [*second, self.sep_token_id]
        return [self.cls_token_id, *first, self.sep_token_id, *rest]

    def get_special_tokens_mask(
        self, ids: list[int], already_has_special_tokens: bool = True
    ) -> list[int]:
        """1 for each special token of a row, 0 for the others; the row gets its special tokens first if it has none."""
        special = set(self.all_special_ids)
        row = ids if already_has_special_tokens else self.build_inputs_with_special_tokens(ids)
        return [int(i in special) for i in row]

    def add_tokens(
        self, tokens: str | AddedToken | Sequence[str | AddedToken], special_tokens: bool = False
    ) -> int:
        """Add tokens that are always kept whole, and return how many were new; then resize the model's embeddings."""
        tokens = [tokens] if isinstance(tokens, (str, AddedToken)) else list(tokens)
        backend = self.backend_tokenizer
        return backend.add_special_tokens(tokens) if special_tokens else backend.add_tokens(tokens)

    @property
    def _added(self) -> list[AddedToken]:
        return [
            token for _, token in sorted(self.backend_tokenizer.get_added_tokens_decoder().items())
        ]

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`: for this class and transformers.

        Each file is replaced at once: a killed process leaves the old one or the new one.
        """
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        current = {name: getattr(self, name, value) for name, value in self.settings.items()}
        # transformers' own AlbertTokenizer would rebuild the pipeline, and differ in rare characters
        config = {
            **current,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": self.model_input_names,
        }
        texts = {
            "tokenizer.json": self.backend_tokenizer.to_str(pretty=True),
            "tokenizer_config.json": json.dumps(config, indent=2, sort_keys=True) + "\n",
            "special_tokens_map.json": json.dumps(self.special_tokens_map, indent=2, sort_keys=True)
            + "\n",
        }
        for name, text in texts.items():
            atomic_write_text(folder / name, text)


def complete(settings: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """`settings`, and those of `names` and `DEFAULTS` for what is not given.

    None counts as not given, and so does 1e30, which transformers writes for a `model_max_length` that nobody set.
    Raises TypeError for an unknown name, ValueError for a value of another type.
    """
    defaults = {**DEFAULTS, **names}
    if unknown := settings.keys() - defaults.keys():
        raise TypeError(f"no setting {', '.join(sorted(unknown))}; there are {', '.join(defaults)}")
    given = {name: value for name, value in settings.items() if value not in (None, 1e30)}
    for name, value in given.items():
        kind = bool if name in PIPELINE else str if name in NAMED else type(DEFAULTS[name])
        if not isinstance(value, kind):
            raise ValueError(f"{name}={value!r} must be of type {kind.__name__}")
    return {**defaults, **given}


def wordpiece(file: Path, settings: Mapping[str, Any]) -> Tokenizer:
    """BERT's pipeline, from a file with one piece a line."""
    try:
        pieces = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no UTF-8 text ({error}); download it again") from error
    vocab = {piece.rstrip("\r"): i for i, piece in enumerate(pieces)}
    if settings["unk_token"] not in vocab:
        raise ValueError(
            f"{file} is no WordPiece vocabulary: no line of {len(vocab)} is {settings['unk_token']!r}"
        )
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=settings["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=settings["tokenize_chinese_chars"],
        strip_accents=settings["strip_accents"],
        lowercase=settings["do_lower_case"],
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer
