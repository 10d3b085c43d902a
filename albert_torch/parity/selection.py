"""Which heads of which checkpoint the parity check compares, and on which inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from albert_torch.checkpoints.convert import filled_heads
from albert_torch.checkpoints.matching import POOLER, by_canonical_name, part_of
from albert_torch.checkpoints.reader import read_state_dict
from albert_torch.config import AlbertConfig
from albert_torch.heads import HEADS
from albert_torch.hub import NANO, Source
from albert_torch.parity.compare import compare_ids
from albert_torch.parity.inputs import (
    DEFAULT_TEXTS,
    GENERATED_SHAPES,
    EncodedText,
    random_inputs,
    read_text_pairs,
)
from albert_torch.parity.options import ParityOptions
from albert_torch.parity.reference import import_transformers, transformers_class
from albert_torch.parity.report import Case
from albert_torch.tokenization.tokenizer import AlbertTokenizer


@dataclass(frozen=True)
class HeadToCheck:
    """One head of one checkpoint.

    Attributes:
        checkpoint: The name of the checkpoint in the report.
        head: A name in `HEADS`.
        inputs: The token ids and segment ids of each text.
        name_or_dir: The checkpoint, unless it has to be generated.
        arguments: Further arguments of `from_pretrained` in both libraries.
        generated_config: The config of a checkpoint that has to be generated.
    """

    checkpoint: str
    head: str
    inputs: list[EncodedText]
    name_or_dir: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    generated_config: Mapping[str, Any] | None = None


@dataclass
class Selection:
    """What is to be compared, what was left out, and the comparison of the token ids."""

    heads: list[HeadToCheck] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    token_cases: list[Case] = field(default_factory=list)


def select_checkpoint(source: Source, options: ParityOptions) -> Selection:
    """Select heads of one checkpoint, and compare the token ids of both libraries' tokenizers.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The checkpoint lacks the weights of a head or the tokenizer that `options` need.
    """
    name_or_dir, arguments = _for_both_libraries(source)
    config = AlbertConfig.from_pretrained(name_or_dir, **arguments)
    raw, path = read_state_dict(source)
    parts = {part_of(key) for key in by_canonical_name(raw, str(path))}
    filled = filled_heads(parts, config.architectures)
    available = [head for head in HEADS if head in filled]
    unavailable = [head for head in options.heads or () if head not in filled]
    if unavailable:
        raise ValueError(
            f"{source} does not contain the weights of {', '.join(unavailable)}, only those of "
            f"{', '.join(available)}"
        )
    selection = Selection()
    if POOLER not in parts:
        selection.notes.append("pooled: left out, because the checkpoint has no pooler")
    inputs = _checkpoint_inputs(source, config, options, selection)
    for head in options.heads or available:
        own_arguments = dict(arguments)
        if head == "Model":
            own_arguments["add_pooling_layer"] = POOLER in parts
        selection.heads.append(HeadToCheck(str(source), head, inputs, name_or_dir, own_arguments))
    selection.notes += _notes_on_references(selection)
    return selection


def select_packaged_and_generated(options: ParityOptions) -> Selection:
    """Select what needs no download: the installed model, and checkpoints that are generated.

    Raises:
        ValueError: `options` name texts, for which generated checkpoints have no tokenizer.
    """
    if options.texts is not None:
        raise ValueError(
            "generated checkpoints have no tokenizer: name a checkpoint that has one, or leave out "
            "the texts (--text)"
        )
    selection = Selection()
    selection.notes.append(
        "inputs: random ids, padded rows of two segments (generated checkpoints have no tokenizer)"
    )
    heads = list(options.heads or HEADS)
    packaged = [head for head in heads if head in ("Model", "PreTraining", "MaskedLM")]
    if packaged:
        of_package = select_checkpoint(Source(NANO), replace(options, heads=packaged))
        selection.heads += of_package.heads
        selection.notes += of_package.notes
        selection.token_cases += of_package.token_cases
    for checkpoint, config in GENERATED_SHAPES.items():
        inputs = random_inputs(AlbertConfig(**config), options.seed)
        selection.heads += [
            HeadToCheck(checkpoint, head, inputs, generated_config=config) for head in heads
        ]
    selection.notes += _notes_on_references(selection)
    return selection


def _checkpoint_inputs(
    source: Source, config: AlbertConfig, options: ParityOptions, selection: Selection
) -> list[EncodedText]:
    """Return the ids of texts, or random ids if the checkpoint has no tokenizer.

    The ids are compared with those of transformers only if there is a `tokenizer.json`, which means
    the same to both libraries.
    """
    files = [
        name
        for name in ("tokenizer.json", "spiece.model", "vocab.txt")
        if source.find(name) is not None
    ]
    if not files:
        if options.texts is not None:
            raise ValueError(
                f"{source} has no tokenizer for the texts in {os.fspath(options.texts)}: leave "
                "them out (--text)"
            )
        selection.notes.append(
            "inputs: random ids, padded rows of two segments (the checkpoint has no tokenizer)"
        )
        return random_inputs(config, options.seed)
    texts = list(DEFAULT_TEXTS) if options.texts is None else read_text_pairs(Path(options.texts))
    ours = _encode(AlbertTokenizer, source, texts, config.max_position_embeddings)
    num_tokens = sum(len(ids) for ids, _ in ours)
    selection.notes.append(f"inputs: {len(texts)} texts, {num_tokens} tokens")
    if files[0] == "tokenizer.json":
        auto_tokenizer = import_transformers().AutoTokenizer
        theirs = _encode(auto_tokenizer, source, texts, config.max_position_embeddings)
        selection.token_cases.append(Case(str(source), "tokens", "", "", compare_ids(ours, theirs)))
    else:
        selection.notes.append(
            "tokens: not compared, because without a tokenizer.json the ids of transformers 5 "
            "differ from Google's"
        )
    return ours


def _for_both_libraries(source: Source) -> tuple[str, dict[str, Any]]:
    """Return the first argument of `from_pretrained` and the others that are not the default."""
    arguments = {key: value for key, value in asdict(source).items() if value}
    del arguments["name_or_dir"]
    return os.fspath(source.directory or source.name_or_dir), arguments


def _encode(
    tokenizer_class: Any, source: Source, texts: list[tuple[str, str | None]], max_length: int
) -> list[EncodedText]:
    name_or_dir, arguments = _for_both_libraries(source)
    tokenizer = tokenizer_class.from_pretrained(name_or_dir, **arguments)
    encoded = [
        tokenizer(*pair, return_token_type_ids=True, truncation=True, max_length=max_length)
        for pair in texts
    ]
    return [(one["input_ids"], one["token_type_ids"]) for one in encoded]


def _notes_on_references(selection: Selection) -> list[str]:
    """Say for which heads only the encoder of the reference is that of transformers."""
    heads = dict.fromkeys(head_to_check.head for head_to_check in selection.heads)
    return [
        f"{head}: transformers has no such class; the reference is its AlbertModel under our head"
        for head in heads
        if transformers_class(head) is None
    ]
