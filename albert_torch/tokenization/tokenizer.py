"""Text -> ids, as ALBERT's original tokenizer, with the calling conventions of transformers; needs no torch."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Encoding, Tokenizer, pre_tokenizers, processors

from albert_torch.files import read_json
from albert_torch.hub import Source
from albert_torch.tokenization.base import (
    DEFAULTS,
    ENGLISH,
    NAMED,
    PIPELINE,
    WORDPIECE,
    TokenizerBase,
    complete,
    wordpiece,
)
from albert_torch.tokenization.batch_encoding import (
    SIDES,
    BatchEncoding,
    choice,
    is_plain,
    make_rows,
    pad_batch,
    to_list,
    to_tensors,
)
from albert_torch.tokenization.sentencepiece import ExactWords, SentencePiece

logger = logging.getLogger(__name__)

FILES = ("tokenizer.json", "spiece.model", "vocab.txt")
TRUNCATION = {True: "longest_first", False: "do_not_truncate", None: "do_not_truncate"} | {
    name: name for name in ("longest_first", "only_first", "only_second", "do_not_truncate")
}


class AlbertTokenizer(TokenizerBase):
    """Call it on text for a `BatchEncoding`; `from_pretrained` makes one.

    Ids are those of google-research/albert: its clean-up, SentencePiece, then the comma of "2010," on its own. Fifteen
    characters younger than the Rust library's Unicode tables (U+A7F2-A7F4, U+107A5, U+1F16C, U+1FBF0-1FBF9) are unknown
    here; with `keep_accents`, a ligature before a combining mark may be cut otherwise. Special tokens in the text count
    as such. A `vocab.txt` gives BERT's WordPiece, as in the Chinese models.
    """

    def __init__(
        self, model: SentencePiece | Tokenizer, added: Sequence[AddedToken] = (), **settings: Any
    ) -> None:
        """`settings`: a special token by its name, or one of `DEFAULTS`; `added`: tokens beside those, in id order."""
        names = (
            ENGLISH
            if isinstance(model, SentencePiece) or model.token_to_id("<pad>") is not None
            else WORDPIECE
        )
        self.settings = complete(settings, names)
        vars(self).update(
            {name: value for name, value in self.settings.items() if name not in PIPELINE}
        )
        for name in ("padding_side", "truncation_side"):
            choice(name, getattr(self, name), SIDES)
        self._exact: ExactWords | None = None
        if isinstance(model, SentencePiece):
            lower = self.settings["do_lower_case"]
            self.backend_tokenizer = model.pipeline(
                lower, self.settings["keep_accents"], self.settings["remove_space"]
            )
            self._exact, self._plain = ExactWords(model), model.plain_steps(lower)
        else:
            self.backend_tokenizer = model
        self.backend_tokenizer.add_tokens(list(added))
        have = {token.content for token in self._added}
        special = [AddedToken(token, lstrip=name == "mask_token", normalized=False, special=True)
                   for name in ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
                   if (token := self.settings[name]) not in have]  # fmt: skip
        if new := [
            token.content
            for token in special
            if self.backend_tokenizer.token_to_id(token.content) is None
        ]:
            logger.warning(
                "the vocabulary has no %s: added at its end; resize the model's embeddings",
                ", ".join(new),
            )
        self.backend_tokenizer.add_tokens(special)
        if self._exact or self.backend_tokenizer.post_processor is None:
            sep, cls = (self.sep_token, self.sep_token_id), (self.cls_token, self.cls_token_id)
            self.backend_tokenizer.post_processor = processors.BertProcessing(sep, cls)

    @classmethod
    def from_pretrained(
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
        """Read `tokenizer.json`, else `spiece.model`, else `vocab.txt`, and `tokenizer_config.json` if there is one.

        `name_or_dir` may also be one of these files. `overrides` are settings: `do_lower_case`, `keep_accents`,
        `remove_space`, `model_max_length`, `padding_side`, `cls_token`, ... Raises FileNotFoundError where there is no
        tokenizer, ValueError for a file that is none or a setting of another type, TypeError for an unknown setting.
        """
        path = Path(name_or_dir)
        names = (path.name,) if path.is_file() else FILES
        name_or_dir = path.parent if path.is_file() else name_or_dir
        source = Source(
            name_or_dir, revision, subfolder, cache_dir, token, local_files_only, force_download
        )
        file = next((found for name in names if (found := source.find(name)) is not None), None)
        if file is None:
            raise source.missing_error(*names)
        config = source.find("tokenizer_config.json")
        settings = {} if config is None else read_json(config)
        settings = {name: value["content"] if isinstance(value, dict) and "content" in value else value
                    for name, value in settings.items() if name in NAMED or name in DEFAULTS}  # fmt: skip
        if file.suffix == ".json":
            return cls._from_json(file, settings, overrides)
        settings |= overrides
        if file.suffix == ".txt":
            return cls(wordpiece(file, complete(settings, WORDPIECE)), **settings)
        more = source.find("added_tokens.json")  # as transformers 4 wrote beside spiece.model
        ids = {} if more is None else read_json(more)
        added = [
            AddedToken(name, normalized=False)
            for name, _ in sorted(ids.items(), key=lambda item: item[1])
        ]
        return cls(SentencePiece.from_bytes(file.read_bytes(), str(file)), added, **settings)

    @classmethod
    def _from_json(
        cls, file: Path, settings: dict[str, Any], overrides: dict[str, Any]
    ) -> AlbertTokenizer:
        spec = read_json(file)
        try:
            model = SentencePiece.from_json(spec)
            if model is None:
                tokenizer = Tokenizer.from_str(json.dumps(spec))
            else:
                steps = [step["type"] for step in spec["normalizer"]["normalizers"]]
                built = {"do_lower_case": "Lowercase" in steps, "keep_accents": "NFKD" not in steps}
                added = [
                    AddedToken(**{k: v for k, v in token.items() if k != "id"})
                    for token in spec["added_tokens"]
                ]
        except Exception as error:  # the Rust library raises plain Exception
            raise ValueError(
                f"{file} is JSON but no tokenizer: {error!r}; save or download it again"
            ) from error
        if model is not None:
            return cls(model, added, **built | settings | overrides)
        if fixed := sorted(overrides.keys() & set(PIPELINE)):
            raise ValueError(
                f"{file} has a pipeline of its own: {', '.join(fixed)} cannot be set; leave that out"
            )
        return cls(tokenizer, **settings | overrides)

    def __call__(
        self,
        text: Any,
        text_pair: Any = None,
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
        """Encode a text, a pair (`text_pair`, or tuples in a batch), a batch (a list) or words (`is_split_into_words`).

        Arguments and results are those of transformers, but `token_type_ids` comes unless turned off. Lengths and
        `stride` (the overlap of a long text's rows, with `return_overflowing_tokens`) are in tokens; `max_length` alone
        truncates. One text gives flat lists, or with `return_tensors="pt"` a batch of one; offsets are in characters.
        Raises ValueError for what cannot be encoded, TypeError for what is no text.
        """
        rows, batched = make_rows(text, text_pair, is_split_into_words)
        if truncation is None and max_length is not None and padding is False:
            truncation = True
        longest = self.model_max_length if max_length is None else max_length
        limit = self._limit(rows, truncation, longest, stride, add_special_tokens)
        args = {"is_pretokenized": is_split_into_words, "add_special_tokens": add_special_tokens}
        whole = (
            return_offsets_mapping or return_overflowing_tokens
        )  # the fast way gets the types of overflow wrong
        first = encodings = self._encode(rows, limit, whole, args)
        if return_overflowing_tokens:
            encodings = [part for e in first for part in (e, *e.overflowing)]
        data: dict[str, Any] = {"input_ids": [e.ids for e in encodings]}
        if return_token_type_ids:
            data["token_type_ids"] = [e.type_ids for e in encodings]
        if return_attention_mask:
            data["attention_mask"] = [[1] * len(row) for row in data["input_ids"]]
        if return_special_tokens_mask:
            data["special_tokens_mask"] = [e.special_tokens_mask for e in encodings]
        if return_offsets_mapping:
            data["offset_mapping"] = [e.offsets for e in encodings]
        side = padding_side or self.padding_side
        width = pad_batch(data, padding, longest, pad_to_multiple_of, side, self.pad_token_id)
        if limit and width and max_length and max_length % (pad_to_multiple_of or 1):
            raise ValueError(
                f"{max_length=} must be a multiple of {pad_to_multiple_of=} to cut and pad; change one"
            )
        if return_length:
            data["length"] = [len(row) for row in data["input_ids"]]
        if return_overflowing_tokens:
            data["overflow_to_sample_mapping"] = [
                i for i, e in enumerate(first) for _ in (e, *e.overflowing)
            ]

        def located() -> list[Encoding]:
            found = encodings if whole else self._encode(rows, limit, True, args)
            for encoding in found:
                encoding.pad(
                    width, direction=side, pad_id=self.pad_token_id, pad_token=self.pad_token
                )
            return found

        if return_tensors is None and not batched and not return_overflowing_tokens:
            data = {name: value if name == "length" else value[0] for name, value in data.items()}
        return BatchEncoding(to_tensors(data, return_tensors), located)

    def _encode(
        self, rows: list[Any], limit: dict[str, Any] | None, whole: bool, args: dict[str, bool]
    ) -> list[Encoding]:
        """One encoding a row; only `whole` ones have words and offsets. Suspect rows go a second, exact way."""
        quick = (
            not whole
            and self._exact is not None
            and not any(token.normalized for token in self._added)
        )
        kinds = [quick and is_plain(row) for row in rows]
        found = {}
        try:
            for plain in set(kinds):
                view = self._view(limit, plain)
                encode = view.encode_batch if whole else view.encode_batch_fast
                batch = [row for row, kind in zip(rows, kinds, strict=True) if kind is plain]
                found[plain] = iter(encode(batch, **args))
        except (
            BaseException
        ) as error:  # the Rust library raises plain Exception, and panics are not even that
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            if re.search("[\ud800-\udfff]", json.dumps(rows, ensure_ascii=False)):
                raise ValueError(
                    "a text holds a lone surrogate, which is no character; decode its bytes again"
                ) from error
            raise ValueError(f"cannot encode under {limit}: {error}") from error
        encodings = [next(found[kind]) for kind in kinds]
        if self._exact is None:
            return encodings
        certain = self._exact.suspects.isdisjoint
        suspect = [i for i, e in enumerate(encodings)
                   if not certain(e.ids) or (limit and not all(certain(o.ids) for o in e.overflowing))]  # fmt: skip
        if suspect:
            view = self._view(limit, plain=False)
            stages = [view.pre_tokenizer, pre_tokenizers.PreTokenizer.custom(self._exact)]
            view.pre_tokenizer = pre_tokenizers.Sequence(stages)
            for i, encoding in zip(
                suspect, view.encode_batch([rows[i] for i in suspect], **args), strict=True
            ):
                encodings[i] = encoding
        return encodings

    def _limit(
        self,
        rows: list[Any],
        truncation: bool | str | None,
        length: int,
        stride: int,
        add_special_tokens: bool,
    ) -> dict[str, Any] | None:
        """Truncation as the Rust library takes it, checked; None for none."""
        strategy = choice("truncation", truncation, TRUNCATION)
        if strategy == "do_not_truncate":
            return None
        special = (
            self.num_special_tokens_to_add(any(isinstance(row, tuple) for row in rows))
            * add_special_tokens
        )
        if length < special:
            raise ValueError(
                f"max_length={length} has no room for the {special} special tokens; raise it"
            )
        if stride and not 0 <= stride < length - special:
            raise ValueError(
                f"{stride=} must be at least 0, and below {length=} less {special} special tokens"
            )
        return {
            "max_length": length,
            "stride": stride,
            "strategy": strategy,
            "direction": self.truncation_side,
        }

    def _view(self, limit: dict[str, Any] | None, plain: bool) -> Tokenizer:
        """A tokenizer that shares the model (10 microseconds), so that no call changes what another one reads."""
        whole = self.backend_tokenizer
        view = Tokenizer(whole.model)
        view.normalizer, view.pre_tokenizer = (
            self._plain if plain else (whole.normalizer, whole.pre_tokenizer)
        )
        view.post_processor = whole.post_processor
        view.add_tokens(self._added)
        if limit is not None:
            view.enable_truncation(**limit)
        return view

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool = True,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """Pad a list of encodings, or one dict of lists, as a data collator does; labels and the like pass unpadded."""
        data = encoded_inputs
        if not isinstance(data, Mapping):
            data = {name: [row[name] for row in data] for name in (data[0] if data else ())}
        data = {name: to_list(value) for name, value in data.items()}
        if "input_ids" not in data:
            raise ValueError(f"pad needs input_ids, and was given {', '.join(data) or 'nothing'}")
        if single := bool(data["input_ids"]) and not isinstance(data["input_ids"][0], list):
            data = {name: [value] for name, value in data.items()}
        if return_attention_mask and "attention_mask" not in data:
            data["attention_mask"] = [[1] * len(row) for row in data["input_ids"]]
        longest = self.model_max_length if max_length is None else max_length
        side = padding_side or self.padding_side
        pad_batch(data, padding, longest, pad_to_multiple_of, side, self.pad_token_id)
        if single:
            data = {name: value[0] for name, value in data.items()}
        return BatchEncoding(to_tensors(data, return_tensors))

    def encode(self, text: Any, text_pair: Any = None, **kwargs: Any) -> Any:
        """The `input_ids` of a call."""
        return self(text, text_pair, **kwargs)["input_ids"]

    def tokenize(
        self, text: Any, pair: Any = None, add_special_tokens: bool = False, **kwargs: Any
    ) -> list[str]:
        """The pieces of one text or pair."""
        return self(text, pair, add_special_tokens=add_special_tokens, **kwargs).tokens()
