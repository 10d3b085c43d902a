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

from albert_torch.encoding import (
    SIDES,
    BatchEncoding,
    choice,
    is_plain,
    is_words,
    make_rows,
    pad_batch,
    to_list,
    to_tensor,
)
from albert_torch.hub import Source
from albert_torch.spiece import ExactWords, SentencePiece
from albert_torch.vocabulary import DEFAULTS, ENGLISH, NAMED, PIPELINE, WORDPIECE, Vocabulary, read_json, wordpiece

logger = logging.getLogger(__name__)

FILES = ("tokenizer.json", "spiece.model", "vocab.txt")
TRUNCATION = {True: "longest_first", False: "do_not_truncate", None: "do_not_truncate"} | {
    name: name for name in ("longest_first", "only_first", "only_second", "do_not_truncate")
}


class AlbertTokenizer(Vocabulary):
    """Call it on text for a `BatchEncoding`; `from_pretrained` makes one.

    Ids are those of google-research/albert: its clean-up, SentencePiece, then the comma of "2010," on its own. Fifteen
    characters younger than the Rust library's Unicode tables (U+A7F2-A7F4, U+107A5, U+1F16C, U+1FBF0-1FBF9) are unknown
    here; with `keep_accents`, a ligature before a combining mark may be cut otherwise. Special tokens in the text count
    as such. A `vocab.txt` gives BERT's WordPiece, as in the Chinese models.
    """

    def __init__(self, model: SentencePiece | Tokenizer, added: Sequence[AddedToken] = (), **settings: Any) -> None:
        """`settings`: a special token by its name, or one of `DEFAULTS`; `added`: tokens beside those, in id order."""
        names = ENGLISH if isinstance(model, SentencePiece) or model.token_to_id("<pad>") is not None else WORDPIECE
        if unknown := settings.keys() - names.keys() - DEFAULTS.keys():
            raise TypeError(f"no setting {', '.join(sorted(unknown))}; there are {', '.join((*names, *DEFAULTS))}")
        self.settings = {**DEFAULTS, **names, **settings}
        for name in self.settings.keys() - set(PIPELINE):
            setattr(self, name, self.settings[name])
        for name in ("padding_side", "truncation_side"):
            choice(name, getattr(self, name), SIDES)
        self._exact: ExactWords | None = None
        if isinstance(model, SentencePiece):
            lower = bool(self.settings["do_lower_case"])
            self.backend_tokenizer = model.pipeline(lower, self.settings["keep_accents"], self.settings["remove_space"])
            self._exact, self._plain = ExactWords(model), model.plain_steps(lower)
        else:
            self.backend_tokenizer = model
            model.no_truncation()
            model.no_padding()
        special = [AddedToken(str(token), lstrip=name == "mask_token", normalized=False, special=True)
                   for name in ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
                   if (token := self.settings[name]) is not None]  # fmt: skip
        given = {token.content for token in added}
        new = [token.content for token in special if self.backend_tokenizer.token_to_id(token.content) is None]
        if new and not given.issuperset(new):
            logger.warning("the vocabulary has no %s: added at its end; resize the model's embeddings", ", ".join(new))
        have = {token.content for token in self.backend_tokenizer.get_added_tokens_decoder().values()} | given
        self.backend_tokenizer.add_tokens([*(token for token in special if token.content not in have), *added])
        if self._exact or self.backend_tokenizer.post_processor is None:
            cls, sep = self.cls_token, self.sep_token
            self.backend_tokenizer.post_processor = processors.TemplateProcessing(
                single=f"{cls}:0 $A:0 {sep}:0",
                pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
                special_tokens=[(token, self.backend_tokenizer.token_to_id(token)) for token in (cls, sep)],
            )
        self._added = self._added_tokens()

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
        tokenizer, ValueError for a file that is none, TypeError for an unknown setting.
        """
        path = Path(name_or_dir)
        names = (path.name,) if path.is_file() else FILES
        name_or_dir = path.parent if path.is_file() else name_or_dir
        source = Source(name_or_dir, revision, subfolder, cache_dir, token, local_files_only, force_download)
        file = next((found for name in names if (found := source.find(name)) is not None), None)
        if file is None:
            raise source.lacks(*names)
        config = source.find("tokenizer_config.json")
        settings = {} if config is None else read_json(config)
        settings = {name: value["content"] if isinstance(value, dict) and "content" in value else value
                    for name, value in settings.items() if name in NAMED or name in DEFAULTS}  # fmt: skip
        if file.suffix == ".json":
            return cls._from_json(file, settings, overrides)
        settings |= overrides
        if file.suffix == ".txt":
            return cls(wordpiece(file, {**DEFAULTS, **WORDPIECE, **settings}), **settings)
        more = source.find("added_tokens.json")  # as transformers 4 wrote beside spiece.model
        ids = {} if more is None else read_json(more)
        added = [AddedToken(name, normalized=False) for name, _ in sorted(ids.items(), key=lambda item: item[1])]
        return cls(SentencePiece.from_bytes(file.read_bytes(), str(file)), added, **settings)

    @classmethod
    def _from_json(cls, file: Path, settings: dict[str, Any], overrides: dict[str, Any]) -> AlbertTokenizer:
        spec = read_json(file)
        try:
            model = SentencePiece.from_json(spec)
            if model is None:
                tokenizer = Tokenizer.from_str(json.dumps(spec))
        except Exception as error:  # the Rust library raises plain Exception
            raise ValueError(f"{file} is JSON but no tokenizer: {error!r}; save or download it again") from error
        if model is None:
            if fixed := sorted(overrides.keys() & set(PIPELINE)):
                raise ValueError(f"{file} has a pipeline of its own: {', '.join(fixed)} cannot be set; leave that out")
            return cls(tokenizer, **settings | overrides)
        steps = [step["type"] for step in spec["normalizer"]["normalizers"]]
        built = {"do_lower_case": "Lowercase" in steps, "keep_accents": "NFKD" not in steps}
        added = [AddedToken(**{k: v for k, v in token.items() if k != "id"}) for token in spec["added_tokens"]]
        return cls(model, added, **built | settings | overrides)

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
        batched = isinstance(text, (list, tuple)) and not (is_split_into_words and is_words(text))
        rows = make_rows(text, text_pair, batched, is_split_into_words)
        if truncation is None and max_length is not None and padding is False:
            truncation = True
        strategy = choice("truncation", truncation, TRUNCATION)
        limit = None
        if strategy != "do_not_truncate":
            limit = self._limit(rows, strategy, max_length, stride, add_special_tokens)
        args = {"is_pretokenized": is_split_into_words, "add_special_tokens": add_special_tokens}

        def expand(encodings: list[Encoding]) -> list[Encoding]:
            return [part for e in encodings for part in (e, *e.overflowing)] if return_overflowing_tokens else encodings

        whole = return_offsets_mapping or return_overflowing_tokens  # the fast way gets the types of overflow wrong
        first, ids = self._encode(rows, limit, whole, args)
        encodings = expand(first)
        if return_overflowing_tokens:
            ids = [e.ids for e in encodings]
        data: dict[str, Any] = {"input_ids": ids}
        if return_token_type_ids:
            data["token_type_ids"] = [e.type_ids for e in encodings]
        if return_attention_mask:
            data["attention_mask"] = [[1] * len(row) for row in ids]
        if return_special_tokens_mask:
            data["special_tokens_mask"] = [e.special_tokens_mask for e in encodings]
        if return_offsets_mapping:
            data["offset_mapping"] = [e.offsets for e in encodings]
        side = padding_side or self.padding_side
        if limit and padding and max_length and max_length % (pad_to_multiple_of or 1):
            raise ValueError(f"{max_length=} must be a multiple of {pad_to_multiple_of=} to cut and pad; change one")
        longest = self.model_max_length if max_length is None else max_length
        width = pad_batch(data, padding, longest, pad_to_multiple_of, side, self.pad_token_id)
        if return_length:
            data["length"] = [len(row) for row in data["input_ids"]]
        if return_overflowing_tokens:
            data["overflow_to_sample_mapping"] = [i for i, e in enumerate(first) for _ in (e, *e.overflowing)]

        def located() -> list[Encoding]:
            found = encodings if whole else expand(self._encode(rows, limit, True, args)[0])
            for encoding in found:
                encoding.pad(width, direction=side, pad_id=self.pad_token_id, pad_token=self.pad_token)
            return found

        if return_tensors is not None:
            choice("return_tensors", return_tensors, {"pt": "pt"})
            data = {name: to_tensor(name, value) for name, value in data.items()}
        elif not batched and not return_overflowing_tokens:
            data = {name: value if name == "length" else value[0] for name, value in data.items()}
        return BatchEncoding(data, located)

    def _encode(
        self, rows: list[Any], limit: dict[str, Any] | None, whole: bool, args: dict[str, bool]
    ) -> tuple[list[Encoding], list[list[int]]]:
        """Encodings and their ids; only `whole` ones have words and offsets. Suspect rows go a second, exact way."""
        quick = not whole and self._exact is not None and not any(token.normalized for token in self._added)
        kinds = [quick and is_plain(row) for row in rows]
        encodings: list[Any] = [None] * len(rows)
        try:
            for plain in set(kinds):
                view = self._view(limit, plain)
                where = [i for i, kind in enumerate(kinds) if kind is plain]
                found = (view.encode_batch if whole else view.encode_batch_fast)([rows[i] for i in where], **args)
                for i, encoding in zip(where, found, strict=True):
                    encodings[i] = encoding
        except BaseException as error:  # the Rust library raises plain Exception, and panics are not even that
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            if re.search("[\ud800-\udfff]", json.dumps(rows, ensure_ascii=False)):
                raise ValueError(
                    "a text holds a lone surrogate, which is no character; decode its bytes again"
                ) from error
            raise ValueError(f"cannot encode under {limit}: {error}") from error
        ids = [e.ids for e in encodings]
        if self._exact is None:
            return encodings, ids
        certain = self._exact.suspects.isdisjoint
        exact = None
        for i, row in enumerate(ids):
            if certain(row) and (limit is None or all(certain(rest.ids) for rest in encodings[i].overflowing)):
                continue
            if exact is None:
                exact = self._view(limit, plain=False)
                stages = [exact.pre_tokenizer, pre_tokenizers.PreTokenizer.custom(self._exact)]
                exact.pre_tokenizer = pre_tokenizers.Sequence(stages)
            encodings[i] = exact.encode_batch([rows[i]], **args)[0]
            ids[i] = encodings[i].ids
        return encodings, ids

    def _limit(
        self, rows: list[Any], strategy: str, max_length: int | None, stride: int, add_special_tokens: bool
    ) -> dict[str, Any]:
        """Truncation as the Rust library takes it, checked."""
        length = self.model_max_length if max_length is None else max_length
        special = self.num_special_tokens_to_add(any(isinstance(row, tuple) for row in rows)) * add_special_tokens
        if length < special:
            raise ValueError(f"max_length={length} has no room for the {special} special tokens; raise it")
        if stride and not 0 <= stride < length - special:
            raise ValueError(f"{stride=} must be at least 0, and below {length=} less {special} special tokens")
        return {"max_length": length, "stride": stride, "strategy": strategy, "direction": self.truncation_side}

    def _view(self, limit: dict[str, Any] | None, plain: bool) -> Tokenizer:
        """A tokenizer that shares the model (10 microseconds), so that no call changes what another one reads."""
        whole = self.backend_tokenizer
        view = Tokenizer(whole.model)
        view.normalizer, view.pre_tokenizer = self._plain if plain else (whole.normalizer, whole.pre_tokenizer)
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
        if return_tensors is not None:
            choice("return_tensors", return_tensors, {"pt": "pt"})
            data = {name: to_tensor(name, value) for name, value in data.items()}
        return BatchEncoding(data)

    def encode(self, text: Any, text_pair: Any = None, **kwargs: Any) -> Any:
        """The `input_ids` of a call."""
        return self(text, text_pair, **kwargs)["input_ids"]

    def tokenize(self, text: Any, pair: Any = None, add_special_tokens: bool = False, **kwargs: Any) -> list[str]:
        """The pieces of one text or pair."""
        return self(text, pair, add_special_tokens=add_special_tokens, **kwargs).tokens()
