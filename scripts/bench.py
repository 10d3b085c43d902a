#!/usr/bin/env python3
"""Compare the speed of this package, transformers, ONNX Runtime and OpenVINO on the same weights.

    python scripts/bench.py                    # all workloads: tables, bench.json, bench.png
    python scripts/bench.py --scale            # 1k, 10k and 100k texts: time and memory
    python scripts/bench.py --workloads FILE   # one text per line

The systems run in turn in each round, so that a change in the load of the machine meets all of
them. Workloads: sst2, xquad and gutenberg (from the assets), lengths (random tokens, with the row
lengths of SST-2), dense (8 rows of 128 tokens), or a file. "Useful" operations are those on real
tokens; in the last layer, those on the first token of each row.
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
    ASSETS,
    Models,
    Rows,
    System,
    accuracy,
    build,
    hidden_states,
    pad,
    quality,
    rows_of,
    texts_of,
    useful_operations,
)

from albert_torch import AlbertConfig, AlbertTokenizer
from albert_torch.inference import Encoder
from albert_torch.inference.kernels import linear as linear_kernels
from albert_torch.inference.kernels.linear import LinearWeights
from albert_torch.inference.kernels.quantized_linear import cpu_quantized_linear, quant_params

SHAPE_FIELDS = (
    "vocab_size",
    "embedding_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
)
BASELINE = "transformers float32"
ROOFLINE_TOKENS = 1024


# ---- measuring ----


def roofline(config: Any) -> dict[str, float]:
    """Measure a layer's four matrix products alone, with prepared weights: FLOP/s by dtype."""
    h, f = config.hidden_size, config.intermediate_size
    rates = {}
    for dtype in ("float32", "bfloat16", "int8"):
        calls: list[Callable[[], Any]] = []
        for inputs, outputs in ((h, 3 * h), (h, h), (h, f), (f, h)):
            weight, bias = torch.randn(outputs, inputs), torch.randn(outputs)
            x = torch.randn(ROOFLINE_TOKENS, inputs)
            if dtype == "int8":
                q = (x * 30 + 128).clamp(0, 255).to(torch.uint8)
                product = cpu_quantized_linear(weight, bias, quant_params(-4, 4))
                calls.append(partial(product, q))
            else:
                torch_dtype = getattr(torch, dtype)
                weights = LinearWeights(weight.to(torch_dtype), bias.to(torch_dtype))
                calls.append(partial(linear_kernels.cpu_linear(weights), x.to(torch_dtype)))
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            for call in calls:
                call()
            seconds.append(time.perf_counter() - start)
        rates[dtype] = ROOFLINE_TOKENS * 2 * (4 * h * h + 2 * h * f) / min(seconds)
    return rates


def outputs_of(system: System, rows: Rows) -> tuple[float, torch.Tensor]:
    """Run a system on rows: the seconds it took, and the logits in the order of `rows`."""
    order = list(range(len(rows)))
    if system.sort:
        order.sort(key=lambda i: len(rows[i]))
    batches = system.prepare([rows[i] for i in order])
    start = time.perf_counter()
    logits = [system.run(batch) for batch in batches]
    seconds = time.perf_counter() - start
    return seconds, torch.cat(logits)[torch.tensor(order).argsort()]


def compare(
    systems: list[System], models: Models, rows: Rows, repeats: int
) -> dict[str, dict[str, Any]]:
    """Measure one workload in `repeats` rounds; derive speed, ratios and differences by system."""
    tokens, operations = sum(map(len, rows)), useful_operations(rows, models.theirs.config)
    sample = sorted(rows, key=len)[:: max(1, len(rows) // 8)][:8]
    with torch.no_grad():
        exact = models.copy_of_theirs(torch.float64)(**pad(sample)).logits
    seconds: dict[str, list[float]] = {system.name: [] for system in systems}
    peaks: dict[str, list[float]] = {}
    for system in systems:
        outputs_of(system, rows[:64])  # warm up
    for number in range(1, repeats + 1):
        print(f"round {number} of {repeats}", file=sys.stderr, flush=True)
        for dtype, rate in roofline(models.theirs.config).items():
            peaks.setdefault(dtype, []).append(rate)
        for system in systems:
            time.sleep(0.1)  # threads of other libraries keep spinning for a while
            seconds[system.name].append(outputs_of(system, rows)[0])
    results = {}
    for system in systems:
        taken = seconds[system.name]
        rate = operations / statistics.median(taken)
        baseline = seconds.get(BASELINE)
        results[system.name] = {
            "tokens_per_second": tokens / statistics.median(taken),
            "ratio_to_transformers": baseline
            and statistics.median(b / t for b, t in zip(baseline, taken, strict=True)),
            "useful_gflops": rate / 1e9,
            "share_of_roofline": rate / statistics.median(peaks[computing_dtype(system.name)]),
            "largest_difference": float(
                (outputs_of(system, sample)[1].double() - exact).abs().max()
            ),
            "seconds": taken,
        }
    results["roofline"] = {dtype: statistics.median(rates) / 1e9 for dtype, rates in peaks.items()}
    return results


def computing_dtype(system_name: str) -> str:
    """The dtype that a system computes in."""
    for dtype in ("bfloat16", "int8"):
        if dtype in system_name:
            is_ours = "fast" in system_name
            if dtype == "bfloat16" and is_ours and not linear_kernels.bfloat16_is_fast():
                return "float32"  # the fast path uses it instead
            return dtype
    return "float32"


def latency(
    systems: list[System], repeats: int = 20, calls: int = 10
) -> dict[str, dict[str, float]]:
    """Measure one sentence of 16 tokens: p50 and p99 in ms, in interleaved blocks of `calls`."""
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
        name: {
            "p50_ms": statistics.median(milliseconds),
            "p99_ms": statistics.quantiles(milliseconds, n=100)[98],
        }
        for name, milliseconds in times.items()
    }


def in_child(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a fresh process, so that only its own memory is measured."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def _megabytes(name: str) -> float:
    """Read this process's memory (Linux): VmRSS now, VmHWM the peak since `_reset_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(name))
    return int(line.split()[1]) / 1024


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def memory(name: str, args: argparse.Namespace, rows: Rows) -> float:
    """Measure how many MB a run of a system takes in addition to the loaded models."""
    torch.set_num_threads(args.threads)
    systems, _ = build(models_of(args), [name])
    (system,) = (system for system in systems if system.name == name)
    _reset_peak()
    before = _megabytes("VmRSS")
    outputs_of(system, rows[:128])
    return _megabytes("VmHWM") - before


def scale(count: int, args: argparse.Namespace) -> dict[str, float]:
    """Encode `count` texts: tokens per second, and the peak memory of the process."""
    torch.set_num_threads(args.threads)
    lines = random.Random(0).choices(list(texts_of("gutenberg")), k=count)
    tokenizer = AlbertTokenizer.from_pretrained(args.tokenizer)
    tokens = sum(
        len(row)
        for start in range(0, count, 256)
        for row in tokenizer(lines[start : start + 256])["input_ids"]
    )
    encoder = Encoder(models_of(args).ours.albert, tokenizer, dtype=args.dtype)
    _reset_peak()
    start = time.perf_counter()
    for _ in encoder.encode_stream(lines):
        pass
    rate = tokens / (time.perf_counter() - start)
    return {"texts": count, "tokens_per_second": rate, "peak_mb": _megabytes("VmHWM")}


# ---- reporting ----


def models_of(args: argparse.Namespace) -> Models:
    """The models that the options describe."""
    config = AlbertConfig.preset("albert-base-v2")
    return Models(args.model, {name: getattr(config, name) for name in SHAPE_FIELDS})


def machine(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that the numbers depend on."""
    names = ("torch", "transformers", "onnxruntime", "openvino")
    cpu_info = Path("/proc/cpuinfo").read_text()
    processors = [
        line.split(":")[1].strip()
        for line in cpu_info.splitlines()
        if line.startswith("model name")
    ]
    instructions = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
    return {
        "command": shlex.join(["python", *sys.argv]),
        "processor": f"{len(processors)} x {processors[0]}",
        "instructions": [name for name in instructions if f" {name} " in cpu_info],
        "bfloat16_products_faster": linear_kernels.bfloat16_is_fast(),
        "threads": args.threads,
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in names if find_spec(name)},
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """Format one workload as a Markdown table."""
    columns = (
        "system",
        "tokens/s",
        "x transformers",
        "useful GFLOP/s",
        "% of roofline",
        "largest difference",
    )
    lines = [f"| {' | '.join(columns)} |", "|---|--:|--:|--:|--:|--:|"]
    for name, result in results.items():
        if name == "roofline":
            continue
        ratio = result["ratio_to_transformers"]
        lines.append(
            f"| {name} | {result['tokens_per_second']:,.0f} | {f'{ratio:.2f}' if ratio else '-'} "
            f"| {result['useful_gflops']:.0f} | {100 * result['share_of_roofline']:.0f} "
            f"| {result['largest_difference']:.1e} |"
        )
    return "\n".join(lines)


def plot(report: dict[str, Any], path: str) -> None:
    """Draw the speed of every system on every workload."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    workloads = report["workloads"]
    figure, axes = pyplot.subplots(
        len(workloads), 1, figsize=(9, 3.6 * len(workloads)), squeeze=False
    )
    for axis, (workload, results) in zip(axes[:, 0], workloads.items(), strict=True):
        names = [name for name in results if name != "roofline"][::-1]
        rates = [results[name]["tokens_per_second"] for name in names]
        colors = ["tab:orange" if "fast" in name else "tab:gray" for name in names]
        bars = axis.barh(names, rates, color=colors)
        axis.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3, fontsize=8)
        threads = report["machine"]["threads"]
        axis.set_title(f"{workload}: tokens per second, {threads} threads", fontsize=10)
        axis.tick_params(labelsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--workloads", nargs="+", default=["sst2", "dense", "xquad", "gutenberg"])
    add(
        "--texts",
        type=int,
        default=384,
        help="number of texts of a workload (xquad: a sixth of it; default: 384)",
    )
    add("--systems", nargs="+", default=[], help="names, or their beginnings (default: all)")
    add("--model", help="a classifier's directory or Hub name (default: random base shape)")
    add("--tokenizer", default=str(ASSETS / "assets/spiece.model"))
    add("--finetuned", help="directory of an SST-2 classifier: report its accuracy by dtype")
    add("--repeats", type=int, default=5, help="number of rounds (default: 5)")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--scale", action="store_true", help="encode 1k, 10k and 100k lines instead")
    dtypes = ("float32", "bfloat16", "int8")
    add("--dtype", default="float32", choices=dtypes, help="dtype for --scale")
    add("--out", default="bench", help="write OUT.json and OUT.png (default: bench)")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark that the command line describes."""
    args = parse_arguments()
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
    """Write the results so far."""
    Path(f"{args.out}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def run(args: argparse.Namespace, report: dict[str, Any]) -> None:
    """Measure everything on one set of models, and add it to `report`."""
    models = models_of(args)
    systems, report["missing"] = build(models, args.systems)
    for family, reason in report["missing"].items():
        print(f"{family}: {reason}")
    tokenizer = AlbertTokenizer.from_pretrained(args.tokenizer)
    workloads = {name: rows_of(name, args.texts, tokenizer) for name in args.workloads}
    report["workloads"] = {}
    for name, rows in workloads.items():
        report["workloads"][name] = compare(systems, models, rows, args.repeats)
        print(f"\n{name}: {len(rows)} texts, {sum(map(len, rows))} tokens\n")
        print(table(report["workloads"][name]), flush=True)
        save(report, args)
        plot(report, f"{args.out}.png")
    first_rows = workloads[args.workloads[0]]
    report["latency"] = latency(systems)
    report["hidden_states"] = hidden_states(models, first_rows)
    report["memory_mb"] = {
        system.name: in_child(memory, system.name, args, first_rows) for system in systems
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
