#!/usr/bin/env python3
"""How fast is it? Interleaved runs of this package, transformers, ONNX Runtime and OpenVINO on the same weights.

    python scripts/bench.py                      # every workload: table on stdout, bench.json, bench.png
    python scripts/bench.py --scale              # 1k, 10k and 100k texts: is time linear and memory flat?
    python scripts/bench.py --workloads FILE     # one text a line, with --tokenizer

Workloads: sst2, xquad, gutenberg (of the assets), lengths (drawn as SST-2's are), dense (8 rows of 128), or a file.
"Useful" operations are those of real tokens, in the last layer of the first token of each row alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from bench_systems import (  # isort: skip
    ASSETS, Models, Rows, System, accuracy, build, hidden_states, pad, quality, rows_of, texts_of,
    useful_operations,
)  # fmt: skip

from albert_torch import AlbertConfig, AlbertTokenizer
from albert_torch.inference import Encoder
from albert_torch.inference.kernels import int8
from albert_torch.inference.kernels import linear as kernels

SHAPE_FIELDS = ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                "intermediate_size", "hidden_act")  # fmt: skip
BASELINE = "transformers float32"


# ---- measuring ----


def roofline(config: Any) -> dict[str, float]:
    """FLOP/s of a layer's four products alone, weights prepared, 1024 tokens, by dtype."""
    h, f = config.hidden_size, config.intermediate_size
    rates = {}
    for dtype in ("float32", "bfloat16", "int8"):
        calls: list[Callable[[], Any]] = []
        for inputs, outputs in ((h, 3 * h), (h, h), (h, f), (f, h)):
            weight, bias, x = (
                torch.randn(outputs, inputs),
                torch.randn(outputs),
                torch.randn(1024, inputs),
            )
            if dtype == "int8":
                q, product = (
                    (x * 30 + 128).clamp(0, 255).to(torch.uint8),
                    int8.product(weight, bias, int8.Steps(-4, 4)),
                )
                calls.append(partial(product, q))
            else:
                kind = getattr(torch, dtype)
                kernel = kernels.linear(weight.to(kind), bias.to(kind))
                calls.append(partial(kernel, x.to(kind)))
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            for call in calls:
                call()
            seconds.append(time.perf_counter() - start)
        rates[dtype] = 1024 * 2 * (4 * h * h + 2 * h * f) / min(seconds)
    return rates


def outputs_of(system: System, rows: Rows) -> tuple[float, torch.Tensor]:
    """Seconds, and the logits in the order of `rows`."""
    order = (
        sorted(range(len(rows)), key=lambda i: len(rows[i])) if system.sort else range(len(rows))
    )
    batches = system.prepare([rows[i] for i in order])
    start = time.perf_counter()
    logits = [system.run(batch) for batch in batches]
    seconds = time.perf_counter() - start
    return seconds, torch.cat(logits)[torch.tensor(order).argsort()]


def compare(
    systems: list[System], models: Models, rows: Rows, repeats: int
) -> dict[str, dict[str, Any]]:
    """One workload: seconds by round, then what follows from them."""
    tokens, operations = sum(map(len, rows)), useful_operations(rows, models.theirs.config)
    some = sorted(rows, key=len)[:: max(1, len(rows) // 8)][:8]
    with torch.no_grad():
        exact = models.copy_of_theirs(torch.float64)(**pad(some)).logits
    seconds: dict[str, list[float]] = {system.name: [] for system in systems}
    peaks: dict[str, list[float]] = {}
    for system in systems:
        outputs_of(system, rows[:64])  # warm up
    for number in range(1, repeats + 1):
        print(f"round {number} of {repeats}", file=sys.stderr, flush=True)
        for dtype, rate in roofline(models.theirs.config).items():
            peaks.setdefault(dtype, []).append(rate)
        for system in systems:
            time.sleep(0.1)  # other libraries' threads spin a while
            seconds[system.name].append(outputs_of(system, rows)[0])
    results = {}
    for system in systems:
        taken = seconds[system.name]
        dtype = next((d for d in ("bfloat16", "int8") if d in system.name), "float32")
        if dtype == "bfloat16" and "fast" in system.name and not kernels.bf16_pays():
            dtype = "float32"  # which is what runs
        rate = operations / statistics.median(taken)
        base = seconds.get(BASELINE)
        results[system.name] = {
            "tokens_per_second": tokens / statistics.median(taken),
            "ratio_to_transformers": base
            and statistics.median(b / t for b, t in zip(base, taken, strict=True)),
            "useful_gflops": rate / 1e9,
            "share_of_roofline": rate / statistics.median(peaks[dtype]),
            "largest_difference": float((outputs_of(system, some)[1].double() - exact).abs().max()),
            "seconds": taken,
        }
    results["roofline"] = {dtype: statistics.median(rates) / 1e9 for dtype, rates in peaks.items()}
    return results


def latency(
    systems: list[System], repeats: int = 20, calls: int = 10
) -> dict[str, dict[str, float]]:
    """Milliseconds for one sentence of 16 tokens, p50 and p99 of `repeats` interleaved blocks of `calls`."""
    row = [2, *range(100, 114), 3]
    times: dict[str, list[float]] = {system.name: [] for system in systems}
    for _ in range(repeats):
        for system in systems:
            (batch,) = system.prepare([row])
            system.run(batch)
            for _ in range(calls):
                start = time.perf_counter()
                system.run(batch)
                times[system.name].append((time.perf_counter() - start) * 1000)
    return {
        name: {"p50_ms": statistics.median(some), "p99_ms": statistics.quantiles(some, n=100)[98]}
        for name, some in times.items()
    }


def in_child(function: Callable[..., Any], *args: Any) -> Any:
    """Call it in a process of its own, whose memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def _megabytes(name: str) -> float:
    """VmRSS, what this process holds, or VmHWM, the most that it held since `_forget_peak` (Linux)."""
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(name))
    return int(line.split()[1]) / 1024


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def memory(name: str, args: argparse.Namespace, rows: Rows) -> float:
    """MB that a run of a system takes beyond the loaded models."""
    torch.set_num_threads(args.threads)
    systems, _ = build(models_of(args), [name])
    (system,) = (one for one in systems if one.name == name)
    _forget_peak()
    before = _megabytes("VmRSS")
    outputs_of(system, rows[:128])
    return _megabytes("VmHWM") - before


def scale(count: int, args: argparse.Namespace) -> dict[str, float]:
    """Encode that many texts: tokens a second, and the peak memory of the process."""
    torch.set_num_threads(args.threads)
    lines = random.Random(0).choices(list(texts_of("gutenberg")), k=count)
    tokenizer = AlbertTokenizer.from_pretrained(args.tokenizer)
    tokens = sum(
        len(row)
        for start in range(0, count, 256)
        for row in tokenizer(lines[start : start + 256])["input_ids"]
    )
    encoder = Encoder(models_of(args).ours.albert, tokenizer, dtype=getattr(torch, args.dtype))
    _forget_peak()
    start = time.perf_counter()
    for _ in encoder.encode_stream(lines):
        pass
    rate = tokens / (time.perf_counter() - start)
    return {"texts": count, "tokens_per_second": rate, "peak_mb": _megabytes("VmHWM")}


# ---- reporting ----


def models_of(args: argparse.Namespace) -> Models:
    config = AlbertConfig.preset("albert-base-v2")
    return Models(args.model, {name: getattr(config, name) for name in SHAPE_FIELDS})


def machine(args: argparse.Namespace) -> dict[str, Any]:
    """What the numbers depend on."""
    names = ("torch", "transformers", "onnxruntime", "openvino")
    cpu = [
        x.split(":")[1].strip()
        for x in Path("/proc/cpuinfo").read_text().splitlines()
        if x.startswith("model name")
    ]
    flags = Path("/proc/cpuinfo").read_text()
    return {
        "command": shlex.join(["python", *sys.argv]),
        "processor": f"{len(cpu)} x {cpu[0]}",
        "instructions": [
            flag
            for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
            if f" {flag} " in flags
        ],
        "bfloat16_products_faster": kernels.bf16_pays(),
        "threads": args.threads,
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in names if find_spec(name)},
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """One workload in Markdown."""
    head = (
        "system",
        "tokens/s",
        "x transformers",
        "useful GFLOP/s",
        "% of roofline",
        "largest difference",
    )
    lines = [f"| {' | '.join(head)} |", "|---|--:|--:|--:|--:|--:|"]
    for name, r in results.items():
        if name != "roofline":
            ratio = f"{r['ratio_to_transformers']:.2f}" if r["ratio_to_transformers"] else "-"
            lines.append(
                f"| {name} | {r['tokens_per_second']:,.0f} | {ratio} | {r['useful_gflops']:.0f} "
                f"| {100 * r['share_of_roofline']:.0f} | {r['largest_difference']:.1e} |"
            )
    return "\n".join(lines)


def plot(report: dict[str, Any], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    workloads = report["workloads"]
    figure, axes = pyplot.subplots(
        len(workloads), 1, figsize=(9, 3.6 * len(workloads)), squeeze=False
    )
    for axis, (name, results) in zip(axes[:, 0], workloads.items(), strict=True):
        names = [system for system in results if system != "roofline"][::-1]
        rates = [results[system]["tokens_per_second"] for system in names]
        bars = axis.barh(
            names,
            rates,
            color=["tab:orange" if "fast" in system else "tab:gray" for system in names],
        )
        axis.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3, fontsize=8)
        axis.set_title(
            f"{name}: tokens a second, {report['machine']['threads']} threads", fontsize=10
        )
        axis.tick_params(labelsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workloads", nargs="+", default=["sst2", "dense", "xquad", "gutenberg"])
    parser.add_argument(
        "--texts",
        type=int,
        default=384,
        help="of a workload, at most (xquad: a sixth; default 384)",
    )
    parser.add_argument(
        "--systems", nargs="+", default=[], help="names, or how they begin (default: all)"
    )
    parser.add_argument(
        "--model", help="a classifier's directory or Hub name (default: base shape, random weights)"
    )
    parser.add_argument("--tokenizer", default=str(ASSETS / "assets/spiece.model"))
    parser.add_argument(
        "--finetuned", help="an SST-2 classifier's directory: dev accuracy by dtype"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--scale", action="store_true", help="encode 1k, 10k and 100k lines instead"
    )
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16", "int8"), help="of --scale"
    )
    parser.add_argument("--out", default="bench", help="OUT.json and OUT.png")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    report: dict[str, Any] = {"machine": machine(args)}
    print(json.dumps(report["machine"], indent=2), flush=True)
    if args.scale:
        report["scale"] = [in_child(scale, count, args) for count in (1000, 10_000, 100_000)]
        print(json.dumps(report["scale"], indent=2))
    else:
        run(args, report)
    save(report, args)


def save(report: dict[str, Any], args: argparse.Namespace) -> None:
    """Write what there is so far."""
    Path(f"{args.out}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def run(args: argparse.Namespace, report: dict[str, Any]) -> None:
    """All that is measured on one set of models, into `report`."""
    models = models_of(args)
    systems, report["missing"] = build(models, args.systems)
    for family, why in report["missing"].items():
        print(f"{family}: {why}")
    tokenizer = AlbertTokenizer.from_pretrained(args.tokenizer)
    rows = {name: rows_of(name, args.texts, tokenizer) for name in args.workloads}
    report["workloads"] = {}
    for name, some in rows.items():
        report["workloads"][name] = compare(systems, models, some, args.repeats)
        print(f"\n{name}: {len(some)} texts, {sum(map(len, some))} tokens\n")
        print(table(report["workloads"][name]), flush=True)
        save(report, args)
        plot(report, f"{args.out}.png")
    report["latency"] = latency(systems)
    report["hidden_states"] = hidden_states(models, rows[args.workloads[0]])
    first = rows[args.workloads[0]]
    report["memory_mb"] = {
        system.name: in_child(memory, system.name, args, first) for system in systems
    }
    if (ASSETS / "assets/plbert").is_dir():
        report["int8_cosine_plbert"] = quality()
    if args.finetuned:
        report["sst2_accuracy"] = accuracy(args.finetuned)
    for name in ("latency", "hidden_states", "memory_mb", "int8_cosine_plbert", "sst2_accuracy"):
        if name in report:
            print(f"\n{name}: {json.dumps(report[name], indent=2)}", flush=True)


if __name__ == "__main__":
    main()
