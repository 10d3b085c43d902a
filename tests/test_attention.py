"""Attention backends against the definition of attention, and the packing of padded batches."""

from collections.abc import Iterator

import pytest
import torch
from helpers.constants import SHARED
from helpers.reference import batch, pair, worst
from torch import Tensor

from albert_torch import AlbertConfig, AlbertModel
from albert_torch.attention import (
    Packing,
    RowLengths,
    eager,
    sdpa,
    varlen,
    varlen_by_kernel,
    varlen_by_length,
    varlen_kernel_works,
)

HEADS, HEAD_SIZE = 3, 4
LENGTHS = [
    pytest.param([9, 5, 1], id="full, partial and one token"),
    pytest.param([4, 4, 4], id="equal"),
    pytest.param([2, 2, 7, 2], id="equal but not neighbours"),
    pytest.param([3, 0, 3], id="empty row"),
    pytest.param([1], id="one token"),
]


def queries_keys_values(tokens: int) -> list[Tensor]:
    """Random (S, N, D) queries, keys and values that require gradients."""
    return [
        torch.randn(tokens, HEADS, HEAD_SIZE, dtype=torch.float64, requires_grad=True)
        for _ in range(3)
    ]


def row_by_row(q: Tensor, k: Tensor, v: Tensor, lengths: list[int]) -> Tensor:
    """The definition: softmax(q k^T / sqrt(D)) v of each row alone."""
    contexts = []
    for rows in zip(*(x.split(lengths) for x in (q, k, v)), strict=True):
        query, key, value = (x.transpose(0, 1) for x in rows)  # (N, T, D)
        probabilities = (query @ key.mT / HEAD_SIZE**0.5).softmax(dim=-1)
        contexts.append((probabilities @ value).transpose(0, 1))
    return torch.cat(contexts)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_varlen_and_its_gradients_equal_the_definition(lengths: list[int]) -> None:
    """Catches: tokens that attend to another row, buckets in another order, a lost scale."""
    inputs = queries_keys_values(sum(lengths))
    weights = torch.randn(sum(lengths), HEADS, HEAD_SIZE, dtype=torch.float64)
    results = []
    for context in (row_by_row(*inputs, lengths), varlen(*inputs, RowLengths(lengths), 0.0)):
        gradients = torch.autograd.grad((context * weights).sum(), inputs)
        results.append([context, *gradients])
    for ours, definition in zip(results[1], results[0], strict=True):
        assert worst(ours, definition) < 1e-10


@pytest.mark.parametrize("backend", [eager, sdpa])
def test_padded_backends_equal_the_definition(backend: object) -> None:
    """Catches: a mask that is read the wrong way round, scores scaled by another size."""
    lengths = [9, 5, 1]
    mask = torch.arange(9)[None] < torch.tensor(lengths)[:, None]  # (B, T)
    packing = Packing(mask)
    packed = queries_keys_values(15)
    q, k, v = (packing.pad(x).transpose(1, 2) for x in packed)  # (B, N, T, D)
    context, _ = backend(q, k, v, mask[:, None, None], 0.0)  # type: ignore[operator]
    want = row_by_row(*packed, lengths)
    assert worst(packing.pack(context.transpose(1, 2)), want) < 1e-10


def test_no_tokens_at_all() -> None:
    """Catches: an exception for a batch whose every token is padding."""
    q, k, v = queries_keys_values(0)
    assert varlen(q, k, v, RowLengths([0, 0]), 0.0).shape == (0, HEADS, HEAD_SIZE)


def test_varlen_drops_probabilities_out() -> None:
    """Catches: a dropout rate that is ignored; context in place of probabilities dropped out."""
    q, k, _ = queries_keys_values(400)
    v = torch.ones_like(q)
    context = varlen(q, k, v, RowLengths([200, 100, 100]), 0.25)
    assert (context - 1).abs().max() > 1e-3
    assert context.mean().item() == pytest.approx(1.0, abs=0.02)


# ---- the variable-length kernel ----


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A stand-in for torch's kernel, which needs a GPU; the list counts its calls."""
    module = pytest.importorskip("torch.nn.attention.varlen")
    calls = []

    def by_definition(
        q: Tensor, k: Tensor, v: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int, max_k: int
    ) -> Tensor:
        assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
        assert max_q == max_k == max(cu_seq_q.diff().tolist())
        calls.append(len(q))
        rows = zip(*(x.split(cu_seq_q.diff().tolist()) for x in (q, k, v)), strict=True)
        return torch.cat(
            [
                sdpa(*(x.transpose(0, 1)[None] for x in row), None, 0.0)[0][0].transpose(0, 1)
                for row in rows
            ]
        )

    varlen_kernel_works.cache_clear()
    monkeypatch.setattr(module, "varlen_attn", by_definition)
    yield calls
    varlen_kernel_works.cache_clear()


@pytest.mark.parametrize("needs_grad", [False, True])
def test_the_kernel_is_called_as_torch_defines_it(kernel: list[int], needs_grad: bool) -> None:
    """Catches: offsets without the first 0, row lengths that include empty rows."""
    assert varlen_kernel_works(torch.float32, 8, torch.device("cpu"), needs_grad)
    rows = RowLengths([3, 0, 3, 6])
    q, k, v = queries_keys_values(12)
    assert worst(varlen_by_kernel(q, k, v, rows), varlen_by_length(q, k, v, rows)) < 1e-10
    assert kernel == [6, 12]


def test_a_kernel_that_does_not_work_is_noticed(kernel: list[int]) -> None:
    """Catches: a trial that any kernel passes, or that does not try the gradients."""
    import torch.nn.attention.varlen as module

    right = module.varlen_attn
    device = torch.device("cpu")
    module.varlen_attn = lambda *args: right(*args) + 0.1  # type: ignore[assignment]  # see fixture
    assert not varlen_kernel_works(torch.float32, 8, device)
    module.varlen_attn = lambda *args: right(*args).detach()  # type: ignore[assignment]
    assert varlen_kernel_works(torch.float32, 24, device)
    assert not varlen_kernel_works(torch.float32, 24, device, needs_grad=True)


def test_the_kernel_of_this_torch_is_not_for_cpus() -> None:
    """Catches: a trial that lets the real kernel run where it cannot."""
    varlen_kernel_works.cache_clear()
    assert not varlen_kernel_works(torch.float32, 8, torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_kernel_on_a_gpu(dtype: torch.dtype) -> None:
    """Catches: a kernel that is never used, or whose gradients are those of other tokens."""
    device = torch.device("cuda", torch.cuda.current_device())
    varlen_kernel_works.cache_clear()
    assert varlen_kernel_works(dtype, 64, device, needs_grad=True)
    rows = RowLengths([130, 7, 1, 64])
    exact = [torch.randn(202, 4, 64, device=device, requires_grad=True) for _ in range(3)]
    inputs = [x.detach().to(dtype).requires_grad_() for x in exact]
    weights = torch.randn(202, 4, 64, device=device)
    want, got = varlen_by_length(*exact, rows), varlen(*inputs, rows, 0.0)
    assert worst(got, want) < 0.05
    gradients = torch.autograd.grad((want * weights).sum(), exact)
    for ours, definition in zip(
        torch.autograd.grad((got.float() * weights).sum(), inputs), gradients, strict=True
    ):
        assert worst(ours, definition) < 0.1


# ---- in a model ----


def test_a_model_needs_unpad_for_varlen() -> None:
    """Catches: padded rows that are silently attended by another backend than the named one."""
    model = AlbertModel(AlbertConfig(**SHARED), attn_implementation="varlen")
    with pytest.raises(ValueError, match=r"'varlen' is for packed rows.*model.unpad = True"):
        model(**batch(SHARED))
    with pytest.raises(ValueError, match="'varlen' is for packed rows"):
        model(**batch(SHARED), output_attentions=True)
    model.unpad = True
    assert model(**batch(SHARED)).last_hidden_state.isfinite().all()


@pytest.mark.parametrize("masked", [True, False])
def test_varlen_runs_without_padding_and_equals_eager(masked: bool) -> None:
    """Catches: a batch without a mask, or padded at the left, that varlen attends wrongly."""
    _, model = pair("AlbertModel", SHARED, unpad=True)
    inputs = batch(SHARED)
    inputs["attention_mask"] = inputs["attention_mask"].flip(1)
    if not masked:
        del inputs["attention_mask"]
    want = model(**inputs, output_hidden_states=True)
    model.set_attn_implementation("varlen")
    got = model(**inputs, output_hidden_states=True)
    for ours, eagers in zip(got.hidden_states, want.hidden_states, strict=True):
        assert worst(ours, eagers) < 1e-10
    assert len(model(**inputs, output_attentions=True).attentions) == SHARED["num_hidden_layers"]


# ---- packing ----


def test_pack_takes_the_real_tokens_row_after_row() -> None:
    """Catches: columns before rows, padding kept, a mask read as lengths (ones may come later)."""
    mask = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]])
    x = torch.arange(12).reshape(4, 3, 1)
    packing = Packing(mask)
    assert packing.pack(x).flatten().tolist() == [0, 1, 4, 9, 10, 11]
    assert packing.rows.lengths == [2, 1, 3]
    assert packing.rows.buckets == [(1, 2), (1, 1), (1, 3)]


def test_pad_is_the_inverse_and_zero_elsewhere() -> None:
    """Catches: rows shifted by one, leftovers at padding, a gradient that goes to another token."""
    mask = torch.tensor([[1, 0, 1], [0, 1, 0]])
    packing = Packing(mask)
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    back = packing.pad(packing.pack(x))
    assert torch.equal(back, x * mask[..., None])
    (back * torch.arange(6.0).reshape(2, 3, 1)).sum().backward()
    expected = (mask * torch.arange(6).reshape(2, 3)).unsqueeze(-1).expand(2, 3, 5).double()
    assert x.grad is not None
    assert torch.equal(x.grad, expected)
