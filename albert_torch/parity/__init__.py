"""Parity: the same checkpoint in transformers and here, every number of both compared."""

from __future__ import annotations

import copy
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from albert_torch.checkpoints.convert import filled_heads
from albert_torch.checkpoints.matching import by_canonical_name, part_of
from albert_torch.checkpoints.reader import read_state_dict
from albert_torch.config import AlbertConfig
from albert_torch.hub import NANO, Source
from albert_torch.parity.compare import (
    TOLERANCES,
    Measurement,
    Observed,
    Quantity,
    Row,
    at_real_tokens,
    compare,
    compare_ids,
    compare_weights,
    observe,
)
from albert_torch.parity.inputs import HEADS, SHAPES, TEXTS, batches, generate, random_rows
from albert_torch.parity.report import Case, Report
from albert_torch.tokenization.tokenizer import AlbertTokenizer

__all__ = [
    "BACKENDS",
    "DTYPES",
    "HEADS",
    "Case",
    "Measurement",
    "Report",
    "check",
    "compare",
    "observe",
]

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
BACKENDS = {
    "eager": ("eager", False),
    "sdpa": ("sdpa", False),
    "unpad": ("sdpa", True),
}  # attention, unpad

CURE = "rewrite the files with `albert-torch convert` and check the result"


@dataclass(frozen=True)
class _Job:
    """One head of one checkpoint."""

    label: str
    head: str
    rows: list[Row]
    name: str
    arguments: Mapping[str, Any]  # of from_pretrained, on both sides
    values: Mapping[str, Any] | None = None  # the config of a checkpoint that has yet to be made


def check(
    source: Source | None = None,
    *,
    heads: Sequence[str] | None = None,
    dtypes: Sequence[str] = ("float64", "float32", "bfloat16"),
    backends: Sequence[str] = tuple(BACKENDS),
    tolerances: Mapping[str, float] | None = None,
    text: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda step: None,
) -> Report:
    """Compare a checkpoint, or without one the packaged model and the generated ones of `SHAPES`, in all that is named.

    `heads` None: all that the checkpoint fills. `tolerances` by dtype replace `TOLERANCES` (times the scale, see
    there). `text`: a file of one text a line, a tab between the two of a pair. `progress` is told each step.
    Raises `ImportError` without transformers, and what `from_pretrained` raises for a checkpoint that cannot be used.
    """
    for kind, given, known in (
        ("head", heads, HEADS),
        ("dtype", dtypes, DTYPES),
        ("dtype", tolerances, DTYPES),
        ("backend", backends, BACKENDS),
    ):
        if wrong := [name for name in given or () if name not in known]:
            raise ValueError(f"no {kind} {wrong[0]!r}; there are {', '.join(known)}")
    if not dtypes or not backends or (heads is not None and not heads):
        raise ValueError(
            "no head is named, or no dtype or backend: name one, or leave the option out for all"
        )
    _transformers()
    begin, report = time.perf_counter(), Report()
    jobs = (
        _generated(heads, text, seed, report)
        if source is None
        else _given(source, heads, text, seed, report)
    )
    for number, job in enumerate(jobs, 1):
        progress(f"[{number}/{len(jobs)}] {job.label}: {job.head}")
        with tempfile.TemporaryDirectory() as folder:
            if job.values is not None:
                generate(job.head, job.values, folder, seed)
                job = replace(job, name=folder)
            report.cases += _cases(job, dtypes, backends, tolerances or {}, seed)
    report.seconds = time.perf_counter() - begin
    return report


def _cases(
    job: _Job,
    dtypes: Sequence[str],
    backends: Sequence[str],
    tolerances: Mapping[str, float],
    seed: int,
) -> Iterator[Case]:
    """The weights, then each dtype and backend. In every dtype both sides start from the numbers in the files."""
    ours: Any = HEADS[job.head].from_pretrained(job.name, **job.arguments)
    theirs = {attention: _reference(job, attention) for attention in ("eager", "sdpa")}
    yield Case(job.label, job.head, "", "", compare_weights(ours, theirs["eager"]))
    worst: dict[tuple[str, str], dict[Quantity, Measurement]] = {
        (d, b): {} for d in dtypes for b in backends
    }
    exact = copy.deepcopy(theirs["eager"]).double()
    for batch in batches(job.head, job.rows, ours.config, seed):
        truth = observe(exact, batch, attentions=True)
        for dtype in dtypes:
            mine = copy.deepcopy(ours).to(DTYPES[dtype])
            wanted: dict[str, Observed] = {"eager": truth} if dtype == "float64" else {}
            for backend in backends:
                attention, unpad = BACKENDS[backend]
                if attention not in wanted:
                    other = copy.deepcopy(theirs[attention]).to(DTYPES[dtype])
                    wanted[attention] = observe(other, batch, attentions=attention == "eager")
                mine.set_attn_implementation(attention)
                mine.base_model.unpad = unpad
                observed = [
                    observe(mine, batch, attentions=attention == "eager"),
                    wanted[attention],
                    truth,
                ]
                if unpad:
                    observed = [at_real_tokens(one, batch) for one in observed]
                tolerance = tolerances.get(dtype, TOLERANCES[DTYPES[dtype]])
                exempt = dtype == "float64" or dtype in tolerances
                for one in compare(
                    *observed[:2], tolerance=tolerance, truth=None if exempt else observed[2]
                ):
                    known = worst[dtype, backend].setdefault(one.place, one)
                    worst[dtype, backend][one.place] = max(one, known, key=lambda m: m.excess)
    for (dtype, backend), measured in worst.items():
        yield Case(job.label, job.head, dtype, backend, list(measured.values()))


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            f"parity compares with transformers, which cannot be imported ({error}): pip install 'albert-torch[parity]'"
        ) from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _reference(job: _Job, attention: str) -> Any:
    kind = getattr(_transformers(), HEADS[job.head].__name__)
    options = {"attn_implementation": attention, "output_loading_info": True}
    try:
        model, info = kind.from_pretrained(job.name, **job.arguments, **options)
    except Exception as error:  # it raises nearly anything
        reason = " ".join([f"{type(error).__name__}:", *str(error).split()])[:200]
        raise ValueError(
            f"transformers cannot load {job.name} as {kind.__name__} ({reason}); {CURE}"
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise ValueError(
            f"transformers finds no {', '.join(missing[:3])} in {job.name}, all found here; {CURE}"
        )
    return model.eval()


# ---- what to check ----


def _generated(
    heads: Sequence[str] | None, text: str | os.PathLike[str] | None, seed: int, report: Report
) -> list[_Job]:
    if text is not None:
        raise ValueError(
            "generated checkpoints have no tokenizer: give a checkpoint that has, or leave out --text"
        )
    report.notes.append(
        "inputs: random ids, padded rows of two segments (generated checkpoints have no tokenizer)"
    )
    trained = [head for head in heads or HEADS if head in ("Model", "PreTraining", "MaskedLM")]
    return (_given(Source(NANO), trained, None, seed, report) if trained else []) + [
        _Job(label, head, random_rows(AlbertConfig(**values), seed), "", {}, values)
        for label, values in SHAPES.items()
        for head in heads or HEADS
    ]


def _given(
    source: Source,
    heads: Sequence[str] | None,
    text: str | os.PathLike[str] | None,
    seed: int,
    report: Report,
) -> list[_Job]:
    name = os.fspath(source.directory or source.name_or_dir)
    arguments = {
        key: value for key, value in asdict(source).items() if value and key != "name_or_dir"
    }
    config = AlbertConfig.from_pretrained(name, **arguments)
    raw, path = read_state_dict(source)
    parts = {part_of(key) for key in by_canonical_name(raw, str(path))}
    filled = filled_heads(parts, config.architectures)
    can = [head for head in HEADS if head in filled]
    if lacking := [head for head in heads or () if head not in can]:
        raise ValueError(f"{source} does not fill {', '.join(lacking)}; it fills {', '.join(can)}")
    pooler = "albert.pooler" in parts
    if not pooler:
        report.notes.append("pooled: left out, the checkpoint has no pooler")
    rows = _rows(source, arguments, config, text, seed, report)
    bare = {**arguments, "add_pooling_layer": pooler}
    return [
        _Job(str(source), head, rows, name, bare if head == "Model" else arguments)
        for head in heads or can
    ]


def _rows(
    source: Source,
    arguments: Mapping[str, Any],
    config: AlbertConfig,
    text: str | os.PathLike[str] | None,
    seed: int,
    report: Report,
) -> list[Row]:
    """The texts' ids, compared with transformers' where a tokenizer.json says the same to both; or random ids."""
    kinds = [
        name
        for name in ("tokenizer.json", "spiece.model", "vocab.txt")
        if source.find(name) is not None
    ]
    if not kinds:
        if text is not None:
            raise ValueError(
                f"{source} has no tokenizer to read {os.fspath(text)} with: leave out --text"
            )
        report.notes.append(
            "inputs: random ids, padded rows of two segments (the checkpoint has no tokenizer)"
        )
        return random_rows(config, seed)
    texts = TEXTS if text is None else _texts(Path(text))

    def encode(tokenizer: Any) -> list[Row]:
        limit = {"truncation": True, "max_length": config.max_position_embeddings}
        encoded = [tokenizer(*pair, return_token_type_ids=True, **limit) for pair in texts]
        return [(one["input_ids"], one["token_type_ids"]) for one in encoded]

    name = os.fspath(source.directory or source.name_or_dir)
    rows = encode(AlbertTokenizer.from_pretrained(name, **arguments))
    report.notes.append(f"inputs: {len(texts)} texts, {sum(len(ids) for ids, _ in rows)} tokens")
    if kinds[0] == "tokenizer.json":
        theirs = encode(_transformers().AutoTokenizer.from_pretrained(name, **arguments))
        report.cases.append(Case(str(source), "tokens", "", "", compare_ids(rows, theirs)))
    else:
        report.notes.append(
            "tokens: not compared: without a tokenizer.json transformers 5 departs from Google's ids"
        )
    return rows


def _texts(path: Path) -> list[tuple[str, str | None]]:
    """One text a line, a tab between the two of a pair; empty lines are skipped."""
    lines = [
        line.partition("\t")
        for line in path.read_text(encoding="utf-8").split("\n")
        if line.strip()
    ]
    if not lines:
        raise ValueError(f"{path} holds no text: write one a line")
    return [(first, second if tab else None) for first, tab, second in lines]
