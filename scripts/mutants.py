"""Put in deliberate one-line faults, one at a time, and see that the tests notice each.

    python scripts/mutants.py [WORD ...]     only the faults whose file or text holds a WORD

Every fault goes into a copy of the tree. Exit 0 when all are killed, 1 when one survives, 2 when one does not apply.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent

# (file of the package, what stands there, what the fault makes of it)
FAULTS = [
    ("attention", "q.shape[-1] ** -0.5", "q.shape[-1] ** -0.49"),
    ("attention", "masked_fill(~mask,", "masked_fill(mask,"),
    ("attention", "F.dropout(probabilities, dropout_p) @ v", "probabilities @ v"),
    ("packing", "mask.flatten().nonzero()", "mask.T.flatten().nonzero()"),
    ("packing", "x.new_zeros(", "x.new_ones("),
    ("model", "padding_idx=config.pad_token_id", "padding_idx=None"),
    ("model", "nn.LayerNorm(width, eps=config.layer_norm_eps)", "nn.LayerNorm(width)"),
    (
        "model",
        "i * len(self.albert_layer_groups) // self",
        "i * len(self.albert_layer_groups) % self",
    ),
    ("model", "words + segments + positions", "words + positions"),
    ("model", "self.LayerNorm(x + self.output_dropout", "self.LayerNorm(self.output_dropout"),
    ("model", "self.full_layer_layer_norm(x + fed)", "self.attention.LayerNorm(x + fed)"),
    ("model", "for layer in layers:", "for layer in layers[:0]:"),
    ("model", "torch.tanh(self.pooler(x[:, 0]))", "torch.tanh(self.pooler(x[:, -1]))"),
    ("model", '"gelu_new", "gelu_fast"', '"gelu_nova", "gelu_fast"'),
    ("model", "checkpoint(group, x, attend, kept, use_reentrant=False)", "group(x, attend, kept)"),
    ("model", "self.dropout(self.ffn_output(", "(self.ffn_output("),
    ("model", "keep.index_fill(1, keep.new_zeros(1, dtype=torch.long), True)", "keep"),
    ("model", "kept = keep if i == self.config.num_hidden_layers - 1", "kept = keep if i == 0"),
    ("checkpoint", '"predictions.decoder.bias": "predictions.bias",', ""),
    (
        "heads",
        "self.decoder(self.LayerNorm(self.activation(self.dense(x))))",
        "self.decoder(self.LayerNorm(self.dense(x)))",
    ),
    ("heads", "nn.Linear(config.hidden_size, 2)", "nn.Linear(config.hidden_size, 3)"),
    ("losses", "ignore_index: int = -100", "ignore_index: int = -1"),
    ("losses", "ignore_index=length)) / 2", "ignore_index=length)) / 1"),
    ("losses", "start.clamp(0, length)", "start.clamp(0, length - 1)"),
    (
        "losses",
        "binary_cross_entropy_with_logits(logits, labels)",
        "binary_cross_entropy_with_logits(-logits, labels)",
    ),
    ("outputs", "if name in self)", "if True)"),
    ("config", "layer_norm_eps: float = 1e-12", "layer_norm_eps: float = 1e-5"),
    ("config", "setattr(self, name, copy.deepcopy(value))", "pass"),
    ("checkpoint", "weights_only=True", "weights_only=False"),
    ("checkpoint", "object_pairs_hook=unique", "object_pairs_hook=dict"),
    ("checkpoint", "torch.equal(tensor, moved[1])", "tensor.shape == moved[1].shape"),
    (
        "checkpoint",
        "if part_of(name) in parts or part_of(name) in BACKBONE:",
        "if part_of(name) in BACKBONE:",
    ),
    ("checkpoint", '".weight", key)', '".bias", key)'),
    ("saving", "os.replace(path, folder / name)", "path.unlink()"),
    ("saving", "tensor = tensor.clone()", "pass"),
    ("pretrained", "data[: len(parameter)] = parameter[:size]", "pass"),
    ("pretrained", "model.eval()", "pass"),
    ("spiece", 'piece[-1] == "," and piece[-2].isdigit()', 'piece[-1] == ","'),
    ("spiece", "by_unit[piece[", "by_unit[piece + piece["),
    ("spiece", "LOWERED = 100.0", "LOWERED = 0.0"),
    ("vocabulary", "skip_special_tokens=skip_special_tokens)", "skip_special_tokens=False)"),
    ("encoding", '"special_tokens_mask": 1', '"special_tokens_mask": 0'),
    ("encoding", "-(-width // multiple) * multiple", "width // multiple * multiple"),
    ("tokenizer", "if not certain(e.ids) or", "if False and not certain(e.ids) or"),
    ("tokenizer", '"direction": self.truncation_side', '"direction": "right"'),
    ("training/loop", "(found[0] * self.world).backward()", "found[0].backward()"),
    (
        "training/loop",
        "torch.manual_seed((recipe.seed * 1_000_003 + step)",
        "torch.manual_seed((recipe.seed)",
    ),
    ("training/state", "os.replace(partial, path)", "path.write_bytes(partial.read_bytes()[:-1])"),
    ("training/state", "atexit.register(_leave)", "pass"),
    ("pretraining/corpus", "not match[1].islower() and not abbreviated", "not match[1].islower()"),
    ("pretraining/shards", "self.documents.append(len(self.sentences) - 1)", "pass"),
    ("pretraining/masking", "1 / n for n in", "1 for n in"),
    ("pretraining/masking", "if chance < 0.8", "if chance < 0.85"),
    ("pretraining/masking", '.replace(b"\\2\\0", b"\\2\\1")', ""),
    ("pretraining/examples", "a, b = (b, a) if label else (a, b)", "pass"),
    ("pretraining/feed", "batch[rank::world]", "batch"),
    (
        "pretraining/lamb",
        'if group["adapt"]:\n            update.mul_',
        "if True:\n            update.mul_",
    ),
    ("pretraining/lamb", "weight / update, 1.0", "update / weight, 1.0"),
    ("pretraining/objective", "masked.pack(labels)", "masked.pack(labels).flip(0)"),
    ("pretraining/trainer", "started.position = tuple(position)", "pass"),
    ("pretraining/vocabulary_training", 'r"(?<=\\d),"', 'r"(?<=x),"'),
    ("inference/attention", "columns < counts[:, None]", "columns <= counts[:, None]"),
    ("inference/attention", "q.shape[2] ** -0.5", "q.shape[2] ** -0.49"),
    ("inference/attention", ".masked_fill_(~mask, -torch.inf)", ""),
    ("inference/attention", "(last - row) * 4 // 3", "(last - row) * 4"),
    ("inference/attention", "(limit.bit_length() - 1) // 2 * 2", "(limit.bit_length() - 1)"),
    ("inference/attention", "max(4, n.bit_length() - 3)", "0"),
    ("inference/attention", "len(qkv) > FEW", "len(qkv) >= FEW"),
    ("inference/attention", "max(1, BLOCK_TOKENS // length)", "999"),
    ("inference/chunks", "loads[least] += costs[row]", "loads[least] += lengths[row]"),
    ("inference/chunks", "sum(costs) * UNEVEN", "sum(costs) * 9"),
    ("inference/chunks", "total >= WORKER_TOKENS * workers and ", ""),
    ("inference/tasks", "if total > FEW_TOKENS:", "if some.start:"),
    ("inference/workers", "torch.get_num_threads()  # the first", "# the first"),
    ("inference/workers", "torch.set_num_threads(before)", "before"),
    ("inference/packed", "kept if i == len(runs) - 1 else None", "None"),
    ("inference/packed", "places[here][kept]", "kept"),
    ("inference/packed", "if len(rows) <= rows[-1] - rows[0]:", "if not rows:"),
    ("inference/packed", "if extra := filling(real):", "if extra := 0:"),
    ("inference/packed", "if kernels.bf16_pays()", "if not kernels.bf16_pays()"),
    ("inference/optimized", "else tokens[cells.argsort()]", "else tokens"),
    ("inference/optimized", "pooled = torch.tanh(pooler(starts))", "pooled = pooler(starts)"),
    ("inference/encoder", "vectors[[places[row] for row in rows]]", "vectors[: len(rows)]"),
]


def survivors(words: list[str]) -> int:
    """Try the faults; print a line for each; return the exit code."""
    faults = [
        fault for fault in FAULTS if not words or any(word in " ".join(fault) for word in words)
    ]
    alive = 0
    environment = {
        "ALBERT_TORCH_ASSETS": str(ROOT.parent / "shared"),
        **os.environ,
    }  # the copy stands elsewhere
    for number, (module, old, new) in enumerate(faults, 1):
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder) / "tree"
            shutil.copytree(
                ROOT,
                tree,
                ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info"),
            )
            path = tree / "albert_torch" / f"{module}.py"
            text = path.read_text()
            if text.count(old) != 1:
                print(
                    f"{module}.py holds {old!r} {text.count(old)} times, not once: mend the list",
                    file=sys.stderr,
                )
                return 2
            path.write_text(text.replace(old, new))
            names = (module.replace("/", "_"), *CALLERS.get(module, ()))
            tests = [f"tests/test_{name}.py" for name in names]
            tests = [name for name in tests if (tree / name).exists()]
            started = time.monotonic()
            command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
            killed = (
                subprocess.run(command, cwd=tree, env=environment, capture_output=True).returncode
                == 1
            )
            seconds = time.monotonic() - started
        alive += not killed
        verdict = "killed  " if killed else "SURVIVED"
        print(
            f"{verdict} {number:2}/{len(faults)} {seconds:5.1f} s  {module}.py: {old}  ->  {new}",
            flush=True,
        )
    print(f"{len(faults) - alive} of {len(faults)} faults killed")
    return 1 if alive else 0


# Whose tests see a module's faults, besides its own.
CALLERS = {
    "attention": ("model",),
    "packing": ("model",),
    "model": ("heads",),
    "spiece": ("tokenizer",),
    "vocabulary": ("tokenizer",),
    "encoding": ("tokenizer",),
    **dict.fromkeys(("inference/attention", "inference/optimized"), ("inference",)),
    "inference/packed": ("inference", "inference_workers"),
    **dict.fromkeys(("inference/chunks", "inference/tasks"), ("inference_workers",)),
    "training/loop": ("training_distributed",),
    "training/state": ("training_loop", "training_distributed"),
    "pretraining/shards": ("pretraining_corpus",),
    "pretraining/trainer": ("pretraining_runs",),
    "pretraining/vocabulary_training": ("pretraining_tokenizer",),
}

if __name__ == "__main__":
    sys.exit(survivors(sys.argv[1:]))
