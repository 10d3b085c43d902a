"""The systems that bench.py compares: each runs the same ALBERT classifier on rows of token ids."""

from __future__ import annotations

import csv
import json
import os
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor
from torch.nn import functional as F

from albert_torch import AlbertForSequenceClassification, AlbertModel, AlbertTokenizer
from albert_torch.inference import Encoder, OptimizedAlbert, optimize

Rows = Sequence[Sequence[int]]
ASSETS = Path(
    os.environ.get("ALBERT_TORCH_ASSETS") or Path(__file__).parent.parent.parent / "shared"
)
BATCH_ROWS = 32  # of the systems that pad


class System(NamedTuple):
    """A way to run the model.

    Attributes:
        name: Shown in the tables.
        prepare: Makes batches from rows; not timed.
        run: One batch -> logits (B, labels); timed.
        sort: Whether the rows are sorted by length first.
    """

    name: str
    prepare: Callable[[Rows], list[Any]]
    run: Callable[[Any], Any]
    sort: bool = False


def batches(rows: Rows) -> list[dict[str, Tensor]]:
    """Padded batches, in the order of the rows."""
    return [pad(rows[i : i + BATCH_ROWS]) for i in range(0, len(rows), BATCH_ROWS)]


def pad(rows: Rows) -> dict[str, Tensor]:
    """One padded batch."""
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)  # (B, T)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


def numpy_batches(rows: Rows) -> list[dict[str, Any]]:
    """Padded batches as numpy arrays."""
    return [{name: value.numpy() for name, value in batch.items()} for batch in batches(rows)]


def texts_of(name: str) -> Iterator[Any]:
    """The texts, or pairs, of a workload."""
    data = ASSETS / "data"
    if name == "sst2":
        with (data / "SST-2/dev.tsv").open(encoding="utf-8") as file:
            yield from (
                row["sentence"]
                for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            )
    elif name == "xquad":
        articles = json.loads((data / "XQuAD-en/xquad.en.json").read_text(encoding="utf-8"))["data"]
        for article in articles:
            for paragraph in article["paragraphs"]:
                yield from ((qa["question"], paragraph["context"]) for qa in paragraph["qas"])
    elif name == "gutenberg":
        for path in sorted((data / "gutenberg").glob("*.txt")):
            yield from (line.strip() for line in path.open(encoding="latin-1") if line.strip())
    else:
        with Path(name).open(encoding="utf-8") as file:
            yield from (line.rstrip("\n") for line in file)


def rows_of(name: str, count: int, tokenizer: AlbertTokenizer | None) -> Rows:
    """The first `count` rows of a workload."""
    rng = random.Random(0)
    if name in ("dense", "lengths"):
        # The lengths of the SST-2 dev set: about log-normal, with a mean of 27 tokens.
        sst2_lengths = [min(128, int(rng.lognormvariate(3.15, 0.53)) + 2) for _ in range(count)]
        lengths = [128] * 8 if name == "dense" else sst2_lengths
        return [[2, *(rng.randrange(5, 30000) for _ in range(n - 2)), 3] for n in lengths]
    if name == "xquad":  # its rows are long
        count //= 6
    texts = [text for text, _ in zip(texts_of(name), range(count), strict=False)]
    assert tokenizer is not None
    return tokenizer(texts, truncation=True, max_length=512)["input_ids"]


def useful_operations(rows: Rows, config: Any) -> float:
    """Count the multiplications and additions that the logits of these rows need."""
    h, f, e = config.hidden_size, config.intermediate_size, config.embedding_size
    per_token_qkv = 6 * h * h
    per_token_after_attention = 2 * (h * h + 2 * h * f)
    total = 0
    for row in rows:
        n = len(row)
        projection = 2 * n * e * h
        layer = n * (per_token_qkv + 4 * n * h + per_token_after_attention)
        last_layer = n * per_token_qkv + 4 * n * h + per_token_after_attention  # first token only
        total += projection + (config.num_hidden_layers - 1) * layer + last_layer
    return float(total)


class Models:
    """The same weights in both libraries, from a checkpoint or random."""

    def __init__(self, name_or_dir: str | None, shape: dict[str, Any]) -> None:
        torch.manual_seed(0)
        if name_or_dir is None:
            config = transformers.AlbertConfig(**shape, attn_implementation="sdpa")
            self.theirs: Any = transformers.AlbertForSequenceClassification(config).eval()
        else:
            model_class = transformers.AlbertForSequenceClassification
            model = model_class.from_pretrained(name_or_dir, attn_implementation="sdpa")
            self.theirs = model.float().eval()
        with tempfile.TemporaryDirectory() as folder:
            self.theirs.save_pretrained(folder)
            self.ours: Any = AlbertForSequenceClassification.from_pretrained(folder)

    def copy_of_theirs(self, dtype: torch.dtype, attention: str = "sdpa") -> Any:
        """Copy transformers' model in another dtype."""
        config = type(self.theirs.config).from_dict(self.theirs.config.to_dict())
        config._attn_implementation = attention
        copy = type(self.theirs)(config)
        copy.load_state_dict(self.theirs.state_dict())
        return copy.to(dtype).eval()


def _plain(name: str, model: Any, sort: bool = False) -> System:
    @torch.inference_mode()
    def run(batch: dict[str, Tensor]) -> Tensor:
        return model(**batch).logits.float()

    return System(name, batches, run, sort)


def _transformers(models: Models) -> list[System]:
    half = models.copy_of_theirs(torch.bfloat16)
    return [
        _plain("transformers float32", models.theirs),
        _plain("transformers float32, sorted", models.theirs, sort=True),
        _plain("transformers bfloat16", half),
        _plain("transformers bfloat16, sorted", half, sort=True),
    ]


def _ours(models: Models) -> list[System]:
    unpadded = AlbertForSequenceClassification(models.ours.config, unpad=True).eval()
    unpadded.load_state_dict(models.ours.state_dict())
    systems = [_plain("albert_torch plain", models.ours), _plain("albert_torch unpad", unpadded)]
    for dtype in (torch.float32, torch.bfloat16, torch.int8):
        fast = optimize(models.ours, dtype)
        name = f"albert_torch fast {str(dtype).removeprefix('torch.')}"
        systems.append(System(name, _single_batch, partial(_packed_logits, fast)))
        if dtype == torch.float32:  # shows what is saved when only first tokens are read
            run = partial(_logits_of_every_token, fast)
            systems.append(System(f"{name}, every token", _single_batch, run))
        if dtype == torch.int8:
            systems.append(_plain(f"{name}, padded batches", fast))
    return systems


def _single_batch(rows: Rows) -> list[Rows]:
    return [rows]


def _packed_logits(fast: OptimizedAlbert, rows: Rows) -> Tensor:
    return fast.packed(rows)["logits"]


def _logits_of_every_token(fast: OptimizedAlbert, rows: Rows) -> Tensor:
    """The classifier's logits, with all tokens computed in the last layer."""
    pooled = fast.packed(rows, apply_head=False)["pooler_output"]
    logits: Tensor = fast.model.get_submodule("classifier")(pooled)
    return logits


def _export(models: Models, folder: Path) -> Path:
    model = models.copy_of_theirs(torch.float32, "eager")
    model.config.return_dict = False
    example = pad([[2, 5, 6, 3], [2, 7, 3]])
    path = folder / "model.onnx"
    torch.onnx.export(
        model,
        tuple(example.values()),
        str(path),
        input_names=list(example),
        output_names=["logits"],
        dynamic_axes={name: {0: "rows", 1: "tokens"} for name in example},
        dynamo=False,
    )
    return path


def _onnxruntime(models: Models, folder: Path) -> list[System]:
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer

    config = models.theirs.config
    fused, quantized = str(folder / "fused.onnx"), str(folder / "int8.onnx")
    optimizer.optimize_model(
        str(_export(models, folder)),
        model_type="bert",
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
        opt_level=1,
    ).save_model_to_file(fused)
    quantize_dynamic(
        fused, quantized, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1}
    )
    systems = []
    for name, path in (
        ("ONNX Runtime float32, fused", fused),
        ("ONNX Runtime int8, dynamic", quantized),
    ):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        systems.append(
            System(
                name,
                numpy_batches,
                lambda batch, session=session: torch.from_numpy(session.run(None, batch)[0]),
            )
        )
    return systems


def _openvino(models: Models, folder: Path) -> list[System]:
    import openvino

    core = openvino.Core()
    model = core.read_model(_export(models, folder))
    systems = []
    for name, hint in (("float32", "f32"), ("bfloat16", "bf16")):
        options = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        request = core.compile_model(model, "CPU", options).create_infer_request()
        systems.append(
            System(
                f"OpenVINO {name}",
                numpy_batches,
                lambda batch, request=request: torch.from_numpy(request.infer(batch)[0].copy()),
            )
        )
    return systems


def build(models: Models, wanted: Sequence[str]) -> tuple[list[System], dict[str, str]]:
    """Make the systems whose names start with one of `wanted`; all of them if it is empty.

    Returns:
        The systems, and for each family that is not installed the reason.
    """
    systems, missing = [], {}
    with tempfile.TemporaryDirectory() as folder:
        makers: dict[str, Callable[[], list[System]]] = {
            "transformers": lambda: _transformers(models),
            "albert_torch": lambda: _ours(models),
            "ONNX Runtime": lambda: _onnxruntime(models, Path(folder)),
            "OpenVINO": lambda: _openvino(models, Path(folder)),
        }
        for family, make in makers.items():
            if wanted and not any(
                name.startswith(family) or family.startswith(name) for name in wanted
            ):
                continue
            try:
                systems += make()
            except ImportError as error:
                missing[family] = f"not installed ({error}): pip install 'albert-torch[bench]'"
    return [
        s for s in systems if not wanted or any(s.name.startswith(name) for name in wanted)
    ], missing


# ---- quality ----


def hidden_states(models: Models, rows: Rows) -> dict[str, dict[str, float]]:
    """Measure how far each dtype's last hidden states are from transformers' in float64."""
    batch = pad(rows[:32])
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        exact = models.copy_of_theirs(torch.float64).albert(**batch).last_hidden_state[real]
    differences = {}
    for dtype in (torch.float32, torch.bfloat16, torch.int8):
        ours = optimize(models.ours.albert, dtype)(**batch).last_hidden_state[real].double()
        cosine = F.cosine_similarity(ours, exact, dim=-1).mean()
        differences[str(dtype)] = {
            "largest_difference": float((ours - exact).abs().max()),
            "mean_cosine": float(cosine),
        }
    return differences


def quality() -> dict[str, float]:
    """Compare int8 with float32 on a trained ALBERT: mean cosine of the hidden states."""
    folder = ASSETS / "assets/plbert"
    model = AlbertModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32)
    symbols = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    rows = [
        [symbols[c] for c in text if c in symbols]
        for text, _ in zip(texts_of("sst2"), range(32), strict=False)
    ]
    batch = {name: value for name, value in pad(rows).items() if name != "token_type_ids"}
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        exact = model(**batch, output_hidden_states=True).hidden_states
    ours = optimize(model, torch.int8)(**batch, output_hidden_states=True).hidden_states
    cosines = [
        float(F.cosine_similarity(a[real], b[real], dim=-1).mean())
        for a, b in zip(ours, exact, strict=True)
    ]
    return {"last_hidden_state": cosines[-1], "all_hidden_states": statistics.mean(cosines[1:])}


def accuracy(folder: str) -> dict[str, float]:
    """Measure the SST-2 dev accuracy of a fine-tuned classifier, by dtype."""
    with (ASSETS / "data/SST-2/dev.tsv").open(encoding="utf-8") as file:
        pairs = [
            (r["sentence"], int(r["label"]))
            for r in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        ]
    accuracies: dict[str, float] = {}
    for dtype in (torch.float32, torch.bfloat16, torch.int8):
        encoder = Encoder.from_pretrained(folder, dtype=dtype)
        names = encoder.config.id2label or {0: "LABEL_0", 1: "LABEL_1"}
        best = [next(iter(labels)) for labels in encoder.classify([text for text, _ in pairs])]
        accuracies[str(dtype)] = statistics.mean(
            name == names[label] for name, (_, label) in zip(best, pairs, strict=True)
        )
    return accuracies
