"""Check the numbers and measure the speed of the package on an accelerator.

    python scripts/gpu_check.py [--json FILE]

It needs no data and no network: weights are random, of the base shape, and texts are rows of random
ids whose lengths vary as those of short sentences do. The first table compares hidden states with
the plain model in float64 on the same device. The others compare tokens per second with
transformers on the same weights, in interleaved rounds; padding is not counted. Where transformers
is not installed, its rows are left out. Exit code 1 if a number is outside its tolerance.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from albert_torch import AlbertConfig, AlbertForSequenceClassification, AlbertModel
from albert_torch.inference import optimize

TOLERANCES = {"float32": 2e-5, "bfloat16": 2**-5, "float16": 2**-8}  # times the largest magnitude
PLAIN_SYSTEMS = (("eager", False), ("sdpa", False), ("sdpa", True), ("varlen", True))
Batch = dict[str, Tensor]


def ragged_batch(rows: int, longest: int, device: torch.device) -> Batch:
    """Return padded rows of random ids; most are short, and one has `longest` tokens."""
    generator = torch.Generator().manual_seed(rows)
    lengths = (torch.randn(rows, generator=generator) * 0.5).exp() * longest / 4
    lengths = lengths.clamp(4, longest).long()
    lengths[0] = longest
    input_ids = torch.randint(5, 30_000, (rows, longest), generator=generator)
    mask = torch.arange(longest) < lengths[:, None]
    return {
        "input_ids": input_ids.masked_fill(~mask, 0).to(device),
        "attention_mask": mask.long().to(device),
    }


def dense_batch(rows: int, length: int, device: torch.device) -> Batch:
    """Return rows of random ids of equal length."""
    generator = torch.Generator().manual_seed(rows)
    input_ids = torch.randint(5, 30_000, (rows, length), generator=generator).to(device)
    return {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}


def check_numbers(device: torch.device) -> tuple[list[dict[str, Any]], bool]:
    """Compare last hidden states at real tokens with float64."""
    torch.manual_seed(0)
    model = AlbertModel(AlbertConfig.preset("albert-base-v2")).eval()
    batch = ragged_batch(16, 128, device)
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        exact = model.double().to(device)(**batch).last_hidden_state[real]
    model = model.float()
    rows = []
    for dtype_name, tolerance in TOLERANCES.items():
        dtype = getattr(torch, dtype_name)
        systems: dict[str, Callable[[], Tensor]] = {
            "fast": lambda dtype=dtype: optimize(model, dtype)(**batch).last_hidden_state
        }
        for attention, unpad in (
            ("eager", False),
            ("sdpa", False),
            ("sdpa", True),
            ("varlen", True),
        ):
            systems[f"{attention}{', unpad' if unpad else ''}"] = (
                lambda dtype=dtype, attention=attention, unpad=unpad: (
                    _plain(model, dtype, attention, unpad)(**batch).last_hidden_state
                )
            )
        for name, run in systems.items():
            with torch.no_grad():
                difference = float((run()[real].double() - exact).abs().max())
            allowed = tolerance * float(exact.abs().max())
            rows.append(
                {"dtype": dtype_name, "system": name, "difference": difference, "allowed": allowed}
            )
    return rows, all(row["difference"] <= row["allowed"] for row in rows)


def _plain(model: AlbertModel, dtype: torch.dtype, attention: str, unpad: bool) -> AlbertModel:
    copy = AlbertModel(model.config, attn_implementation=attention, unpad=unpad)
    copy.load_state_dict(model.state_dict())
    return copy.to(next(model.parameters()).device, dtype).eval()


def classifiers(device: torch.device, dtype: torch.dtype, fast: bool) -> dict[str, Any]:
    """Return the systems to compare: classifiers with the same weights."""
    torch.manual_seed(0)
    model = AlbertForSequenceClassification(AlbertConfig.preset("albert-base-v2")).to(device)
    systems: dict[str, Any] = {}
    try:
        import transformers

        theirs = transformers.AlbertForSequenceClassification(
            transformers.AlbertConfig(**model.config.to_dict())
        )
        theirs.load_state_dict(model.state_dict())
        systems["transformers"] = theirs.to(device, dtype)
    except ImportError:
        print("transformers is not installed: its rows are left out", file=sys.stderr)
    for name, attention, unpad in (
        ("albert_torch plain", "sdpa", False),
        ("albert_torch unpad", "sdpa", True),
        ("albert_torch unpad, varlen", "varlen", True),
    ):
        ours = AlbertForSequenceClassification(
            model.config, attn_implementation=attention, unpad=unpad
        )
        ours.load_state_dict(model.state_dict())
        systems[name] = ours.to(device, dtype)
    if fast:
        systems["albert_torch fast"] = optimize(model, dtype)
    return systems


def interleave(
    systems: dict[str, Callable[[], object]], device: torch.device, rounds: int, calls: int
) -> dict[str, float]:
    """Return the median seconds of a call of each system; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for run in systems.values():  # kernels are chosen and compiled
        run()
        run()
    for _ in range(rounds):
        for name, run in systems.items():
            torch.accelerator.synchronize(device)
            started = time.perf_counter()
            for _ in range(calls):
                run()
            torch.accelerator.synchronize(device)
            seconds[name].append((time.perf_counter() - started) / calls)
    return {name: statistics.median(values) for name, values in seconds.items()}


def inference_speed(
    device: torch.device, dtype_name: str, workloads: dict[str, Batch], rounds: int
) -> list[dict[str, Any]]:
    """Measure a forward pass of each system."""
    systems = classifiers(device, getattr(torch, dtype_name), fast=True)
    rows = []
    for workload, batch in workloads.items():
        runs = {name: _forward(model, batch) for name, model in systems.items()}
        rows += _table(workload, dtype_name, batch, interleave(runs, device, rounds, calls=5))
    return rows


def _forward(model: Any, batch: Batch) -> Callable[[], object]:
    model.eval()

    def run() -> object:
        with torch.no_grad():
            return model(**batch).logits

    return run


def training_speed(
    device: torch.device, dtype_name: str, workloads: dict[str, Batch], rounds: int
) -> list[dict[str, Any]]:
    """Measure a training step of each system: float32 weights, products in the given dtype."""
    systems = classifiers(device, torch.float32, fast=False)
    rows = []
    for workload, batch in workloads.items():
        labels = torch.zeros(len(batch["input_ids"]), dtype=torch.long, device=device)
        runs = {
            name: _step(model, {**batch, "labels": labels}, dtype_name)
            for name, model in systems.items()
        }
        rows += _table(workload, dtype_name, batch, interleave(runs, device, rounds, calls=3))
    return rows


def _step(model: Any, batch: Batch, dtype_name: str) -> Callable[[], object]:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    device_type = next(iter(batch.values())).device.type
    dtype = getattr(torch, dtype_name)

    def run() -> object:
        with torch.autocast(device_type, dtype, enabled=dtype != torch.float32):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return run


def _table(
    workload: str, dtype_name: str, batch: Batch, seconds: dict[str, float]
) -> list[dict[str, Any]]:
    tokens = int(batch["attention_mask"].sum())
    baseline = seconds.get("transformers")
    return [
        {
            "workload": workload,
            "dtype": dtype_name,
            "system": name,
            "ms": 1000 * value,
            "tokens_per_second": tokens / value,
            "ratio": baseline / value if baseline else None,
        }
        for name, value in seconds.items()
    ]


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows as a Markdown table."""
    print(f"\n{title}\n\n| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        cells = [
            f"{value:,.4g}" if isinstance(value, float) else str(value) for value in row.values()
        ]
        print(f"| {' | '.join(cells)} |")


def main() -> int:
    """Run all checks on the current accelerator."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", metavar="FILE", help="write all rows to this file")
    parser.add_argument(
        "--rounds", type=int, default=7, help="rounds of each comparison (default: 7)"
    )
    parser.add_argument(
        "--dtype",
        default="float32,bfloat16,float16",
        metavar="LIST",
        help="dtypes to measure (default: float32,bfloat16,float16)",
    )
    args = parser.parse_args()
    if not torch.accelerator.is_available():
        print("there is no accelerator: this check needs a GPU", file=sys.stderr)
        return 2
    device = torch.accelerator.current_accelerator()
    assert device is not None
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    print(f"{name}, torch {torch.__version__}")
    workloads = {
        "256 ragged rows, up to 128 tokens": ragged_batch(256, 128, device),
        "256 x 128": dense_batch(256, 128, device),
        "64 ragged rows, up to 512 tokens": ragged_batch(64, 512, device),
        "1 x 16": dense_batch(1, 16, device),
    }
    numbers, equal = check_numbers(device)
    print_table("Largest difference of a hidden state from float64", numbers)
    speed, training = [], []
    for dtype_name in args.dtype.split(","):
        rows = inference_speed(device, dtype_name, workloads, args.rounds)
        print_table(f"Inference in {dtype_name}, a classifier of the base shape", rows)
        speed += rows
    del workloads["1 x 16"]
    for dtype_name in args.dtype.split(","):
        if dtype_name != "float16":  # training in float16 would need its loss scaled
            rows = training_speed(device, dtype_name, workloads, args.rounds)
            print_table(f"A training step of the same classifier in {dtype_name}", rows)
            training += rows
    if args.json:
        content = {"device": name, "numbers": numbers, "inference": speed, "training": training}
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
