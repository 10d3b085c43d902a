"""The encoder on packed rows: the sizes of its matrix products, and its worker threads."""

import random

import torch
from helpers.constants import SHARED
from helpers.reference import pair, worst

from albert_torch.inference import backend as backends
from albert_torch.inference import encoder as packed_encoder
from albert_torch.inference import optimize, scheduling
from albert_torch.inference.parallel import parallel_map


def test_products_meet_few_shapes(monkeypatch):
    """Catches: a product of another size for every batch (oneDNN keeps code for each); a small
    remainder that forms a chunk."""
    monkeypatch.setattr(scheduling, "CHUNK_TOKENS", 256)
    monkeypatch.setattr(backends, "available_worker_counts", lambda: [1])
    _, ours = pair("AlbertModel", SHARED, dtype=torch.float32)
    fast, sizes = optimize(ours), []
    kernels = fast.encoder.groups[0][0].kernels
    dense = kernels.dense
    monkeypatch.setattr(
        kernels, "dense", lambda x, residual: sizes.append(len(x)) or dense(x, residual)
    )
    rng, num_layers = random.Random(0), SHARED["num_hidden_layers"]
    rows = [[rng.randrange(5, 61) for _ in range(rng.randint(1, 20))] for _ in range(900)]
    for start in range(0, 900, 90):  # about 900 tokens
        fast.packed(rows[start : start + 90], needed_columns=[[0]] * 90)
    assert len(sizes) == 10 * 4 * num_layers
    assert len(set(sizes)) < 30
    full = [size for i, size in enumerate(sizes) if i % num_layers < num_layers - 1]
    assert all(200 < size < 290 and size % 4 == 0 for size in full)


def test_workers_compute_what_one_thread_computes(four_threads, monkeypatch):
    """Catches: chunks that overwrite each other; states or needed tokens of another chunk; ranges
    of int8 that depend on which thread was first."""
    _, ours = pair("AlbertModel", SHARED, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(5, 60, (n,), generator=generator).tolist() for n in range(3, 20)] * 4
    ids = torch.randint(5, 60, (16, 12), generator=generator)
    needed_columns = [[0, len(row) - 1] for row in rows]
    num_workers = []
    monkeypatch.setattr(
        packed_encoder,
        "parallel_map",
        lambda *args: num_workers.append(args[2]) or parallel_map(*args),
    )
    for dtype, calibration, bound in ((torch.float32, None, 1e-6), (torch.int8, rows, 0.1)):
        fast = optimize(ours, dtype, calibration=calibration)

        def results(fast=fast):
            return [
                fast.packed(rows)["last_hidden_state"],
                fast.packed(rows, needed_columns=needed_columns)["last_hidden_state"],
                *fast(ids, output_hidden_states=True).hidden_states,
            ]

        with monkeypatch.context() as patch:
            patch.setattr(backends, "available_worker_counts", lambda: [1])
            want = results()
        got = results()
        assert all(worst(x, y) < bound for x, y in zip(got, want, strict=True))
    # One more call with one worker, in the middle: the one that int8 is calibrated in.
    assert num_workers == [1, 1, 1, 4, 4, 4, 1, 1, 1, 1, 4, 4, 4]
    again = optimize(ours, torch.int8, calibration=rows).packed(rows)["last_hidden_state"]
    assert torch.equal(again, fast.packed(rows)["last_hidden_state"])
