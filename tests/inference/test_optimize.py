"""The fast path: `optimize` against transformers, on the fused operators and without them."""

import json
import logging
import random

import pytest
import torch
from helpers.constants import SHARED, TINY
from helpers.reference import HEADS, batch, inputs_for, pair, worst

import albert_torch
from albert_torch.inference import encoder as packed
from albert_torch.inference import optimize
from albert_torch.inference import scheduling as chunks
from albert_torch.attention import RowLengths, varlen_by_length
from albert_torch.inference.kernels import attention, int8
from albert_torch.inference.kernels import linear as kernels
from albert_torch.model import ACTIVATIONS

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
POOLED = ("pooler_output", "sop_logits")


def inputs_of(name, config, **how):
    return {key: value for key, value in inputs_for(name, config, **how).items() if key in INPUTS}


def packed_rows(inputs):
    real = inputs["attention_mask"].bool()
    return tuple(
        [row[mask].tolist() for row, mask in zip(inputs[key], real, strict=True)]
        for key in ("input_ids", "token_type_ids")
    )


@pytest.fixture(params=["mkl", "fused", "plain"])
def operators(request, monkeypatch):
    """Run with MKL's packed product, with oneDNN's fused operators alone, and as where there are neither."""
    if request.param == "plain":
        monkeypatch.setattr(kernels, "fused_works", lambda dtype: False)
        monkeypatch.setattr(int8, "fused_works", lambda: False)
    elif not kernels.fused_works(torch.float32):
        pytest.skip("oneDNN's fused operators do not run here")
    elif request.param == "mkl" and not torch.backends.mkl.is_available():
        pytest.skip("this torch has no MKL")
    monkeypatch.setattr(kernels, "mkl_pays", lambda: request.param == "mkl")
    return request.param


@pytest.mark.parametrize("config", [TINY, SHARED], ids=["groups", "shared"])
@pytest.mark.parametrize("name", HEADS)
def test_every_class_equals_transformers(name, config, operators):
    """Kills: a swapped Q, K or V, a missing bias or residual, a wrong group, rows given back in sorted order, another
    activation, padding that is attended to or not zero."""
    theirs, ours = pair(name, config)
    inputs = inputs_of(name, config, lengths=(4, 9, 1))
    with torch.no_grad():
        want = theirs(**inputs)
    got = optimize(ours)(**inputs)
    assert type(got) is type(ours(**inputs))
    assert list(got) == [key for key in want if key not in ("hidden_states", "attentions")]
    mask = inputs["attention_mask"]
    for key, value in got.items():
        by_token = (
            key not in POOLED
            and value.shape[:2] == mask.shape
            and name != "AlbertForMultipleChoice"
        )
        assert value.dtype == torch.float32
        assert worst(value, want[key], mask if by_token else None) < 5e-6
        assert not by_token or not value[mask == 0].any()


def test_hidden_states_are_the_models_own(operators):
    """Kills: a state for every inner layer, a missing projection, a last layer cut to the first tokens."""
    _, ours = pair("AlbertForSequenceClassification", TINY)
    ours.albert.unpad = True
    inputs = inputs_of("AlbertForSequenceClassification", TINY)
    want, got = (
        ours(**inputs, output_hidden_states=True),
        optimize(ours)(**inputs, output_hidden_states=True),
    )
    assert len(got.hidden_states) == TINY["num_hidden_layers"] + 1
    assert max(map(worst, got.hidden_states, want.hidden_states)) < 5e-6
    assert worst(got.logits, want.logits) < 5e-6


@pytest.mark.parametrize("act", list(ACTIVATIONS))
def test_every_activation(act, operators):
    """Kills: the tanh form of GELU for the erf form, an activation that only the plain model knows."""
    _, ours = pair("AlbertModel", {**SHARED, "hidden_act": act}, dtype=torch.float32)
    inputs = inputs_of("AlbertModel", SHARED)
    want = ours(**inputs).last_hidden_state
    assert worst(optimize(ours)(**inputs).last_hidden_state, want, inputs["attention_mask"]) < 5e-6


@pytest.mark.parametrize("name", HEADS[:-1])
def test_packed_rows_give_what_the_batch_gives(name, monkeypatch):
    """Kills: tokens or rows that come back in sorted order, a chunk that cuts a row, a lost segment."""
    monkeypatch.setattr(chunks, "CHUNK_TOKENS", 10)  # three chunks
    _, ours = pair(name, TINY)
    inputs = inputs_of(name, TINY, lengths=(7, 2, 9, 7))
    ids, types = packed_rows(inputs)
    fast = optimize(ours)
    padded, flat = fast(**inputs), fast.packed(ids, types)
    real = inputs["attention_mask"].bool()
    for key, value in padded.items():
        by_token = value.shape[:2] == real.shape
        assert worst(flat[key], value[real] if by_token else value) < 2e-6


def test_only_the_wanted_tokens_are_computed_in_the_last_layer(monkeypatch):
    """Kills: a last layer that computes what no one reads, wanted places counted in another row."""
    seen = []
    original = packed.PackedLayer.__call__
    monkeypatch.setattr(
        packed.PackedLayer,
        "__call__",
        lambda self, *args: seen.append(original(self, *args)) or seen[-1],
    )
    _, ours = pair("AlbertForMaskedLM", SHARED)
    rows = [[5, 6, 7, 8, 9, 10], [11, 12], [13, 14, 15]]
    fast = optimize(ours)
    every = fast.packed(rows).logits
    some = fast.packed(rows, keep=[[1, 4], [], [2]]).logits
    assert worst(some, every[[1, 4, 10]]) < 2e-6
    assert fast.packed(rows[:1], keep=[[]]).logits.shape == (0, SHARED["vocab_size"])
    assert [len(x) for x in seen[SHARED["num_hidden_layers"] :][:6]] == [11] * 5 + [3]
    _, classifier = pair("AlbertForSequenceClassification", SHARED)
    seen.clear()
    optimize(classifier).packed(rows)
    assert [len(x) for x in seen] == [11] * 5 + [3]


def test_products_meet_few_shapes(monkeypatch):
    """Kills: a product of another size for every batch (oneDNN keeps code for each), a small rest that is a chunk."""
    monkeypatch.setattr(chunks, "CHUNK_TOKENS", 256)
    monkeypatch.setattr(packed, "shares", lambda: [1])
    _, ours = pair("AlbertModel", SHARED, dtype=torch.float32)
    fast, sizes = optimize(ours), []
    layer = fast.encoder.groups[0][0]
    dense = layer.dense
    monkeypatch.setattr(
        layer, "dense", lambda x, residual: sizes.append(len(x)) or dense(x, residual)
    )
    draw = random.Random(0)
    rows = [[draw.randrange(5, 61) for _ in range(draw.randint(1, 20))] for _ in range(900)]
    for start in range(0, 900, 90):  # some 900 tokens
        fast.packed(rows[start : start + 90], keep=[[0]] * 90)
    assert len(sizes) == 10 * 4 * SHARED["num_hidden_layers"]
    assert len(set(sizes)) < 30
    full = [
        n
        for i, n in enumerate(sizes)
        if i % SHARED["num_hidden_layers"] < SHARED["num_hidden_layers"] - 1
    ]
    assert all(200 < n < 290 and n % 4 == 0 for n in full)


def test_left_padding_holes_and_empty_rows_are_as_with_unpad():
    """Kills: a mask that is taken for a length, positions counted from the first real token, a crash on no tokens."""
    _, ours = pair("AlbertForSequenceClassification", TINY, unpad=True)
    ids = torch.randint(5, 61, (4, 6))
    mask = torch.tensor(
        [[0, 0, 1, 1, 1, 1], [1, 0, 1, 0, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]
    )
    want = ours(ids, mask)
    assert worst(optimize(ours)(ids, mask).logits, want.logits) < 2e-6
    mask[1] = 0
    assert worst(optimize(ours)(ids, mask).logits[[0, 2, 3]], want.logits[[0, 2, 3]]) < 2e-6
    _, model = pair("AlbertModel", TINY)
    assert (
        worst(optimize(model)(ids).last_hidden_state, model(ids).last_hidden_state) < 2e-6
    )  # no mask at all


def test_embeddings_positions_and_tuples():
    """Kills: arguments that are dropped or mixed up on the way to the embeddings."""
    _, ours = pair("AlbertModel", SHARED)
    fast, ids = optimize(ours), torch.randint(5, 61, (2, 5))
    positions = torch.tensor([[4, 3, 2, 1, 0]])
    want = ours(ids, position_ids=positions).last_hidden_state
    assert worst(fast(ids, position_ids=positions).last_hidden_state, want) < 2e-6
    embeds = torch.randn(2, 5, SHARED["embedding_size"], dtype=torch.float64)
    want = ours(inputs_embeds=embeds).last_hidden_state
    assert worst(fast(inputs_embeds=embeds.float()).last_hidden_state, want) < 2e-6
    assert isinstance(fast(ids, return_dict=False), tuple)


def test_bfloat16(monkeypatch, operators):
    """Kills: a bfloat16 path that is float32 in disguise, or one that loses more than bfloat16 must."""
    monkeypatch.setattr(kernels, "bf16_pays", lambda: True)
    _, ours = pair("AlbertModel", {**SHARED, "hidden_size": 96}, dtype=torch.float32)
    inputs = inputs_of("AlbertModel", SHARED)
    fast = optimize(ours, torch.bfloat16)
    assert fast.encoder.dtype == torch.bfloat16
    got, want = fast(**inputs).last_hidden_state, ours(**inputs).last_hidden_state
    real = inputs["attention_mask"].bool()
    assert torch.nn.functional.cosine_similarity(got, want, dim=-1)[real].min() > 0.995
    assert worst(got, want, real) > 1e-4


def test_bfloat16_where_it_does_not_pay_is_float32(monkeypatch):
    """Kills: running the slower and coarser of two ways."""
    monkeypatch.setattr(kernels, "bf16_pays", lambda: False)
    _, ours = pair("AlbertModel", SHARED, dtype=torch.float32)
    assert optimize(ours, torch.bfloat16).encoder.dtype == torch.float32


def test_the_trial_notices_missing_and_wrong_operators(monkeypatch, caplog):
    """Kills: a check of names or versions in place of a trial."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(
        kernels.FusedLinear, "__call__", lambda self, x, residual=None: x.new_zeros(5, 16)
    )
    kernels.fused_works.cache_clear()
    assert not kernels.fused_works(torch.float32)
    assert "plain torch instead" in caplog.text
    monkeypatch.setattr(
        int8.FusedProduct,
        "_prepare",
        lambda self, weight: torch.ops.onednn.no_such_operator(weight),
    )
    int8.fused_works.cache_clear()
    assert not int8.fused_works()
    kernels.fused_works.cache_clear()
    int8.fused_works.cache_clear()


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch has no MKL")
@pytest.mark.parametrize("rows", [1, 63, 64, 65, 700])
@pytest.mark.parametrize("act", [None, *ACTIVATIONS])
def test_mkl_serves_any_number_of_rows(act, rows):
    """Kills: a packed form that holds for one number of rows, a residual added before the activation, an activation
    written over its own input before it is read for the last time."""
    weight, bias = torch.randn(200, 96) / 5, torch.randn(200)
    x, residual = torch.randn(rows, 96), torch.randn(rows, 200)
    want = kernels.PlainLinear(weight.double(), bias.double(), act)(x.double(), residual.double())
    kernel, before = kernels.MklLinear(weight, bias, act), residual.clone()
    assert worst(kernel(x, residual), want) < 2e-5
    assert torch.equal(residual, before)


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch has no MKL")
def test_mkl_is_tried_before_it_is_trusted(monkeypatch, caplog):
    """Kills: a product that is used where it is missing, wrong for some numbers of rows, or clearly the slower one."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(kernels, "_faster", lambda one, other, margin=1.0: False)
    assert kernels.mkl_pays.__wrapped__()
    monkeypatch.setattr(kernels, "_faster", lambda one, other, margin=1.0: True)
    assert not kernels.mkl_pays.__wrapped__()
    monkeypatch.setattr(kernels, "_faster", lambda one, other, margin=1.0: False)
    original = kernels.MklLinear.__call__
    monkeypatch.setattr(
        kernels.MklLinear, "__call__", lambda self, x, *y: original(self, x, *y) * (len(x) != 5)
    )
    assert not kernels.mkl_pays.__wrapped__()
    assert "oneDNN's instead" in caplog.text


def test_the_model_is_left_alone_and_not_followed(operators):
    """Kills: an encoder taken out of the model, weights shared with one that goes on training."""
    _, ours = pair("AlbertForMaskedLM", SHARED, dtype=torch.float32)
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    fast, inputs = optimize(ours), inputs_of("AlbertForMaskedLM", SHARED)
    want = fast(**inputs).logits
    assert all(torch.equal(value, before[key]) for key, value in ours.state_dict().items())
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(1)
    assert torch.equal(fast(**inputs).logits, want)
    assert not want.requires_grad


def test_a_head_can_be_trained_on_what_comes_out():
    """Kills: all of a call in inference mode, whose tensors autograd refuses to save."""
    _, ours = pair("AlbertModel", SHARED, dtype=torch.float32)
    found = optimize(ours)(**inputs_of("AlbertModel", SHARED), output_hidden_states=True)
    for x in (found.last_hidden_state, found.pooler_output, *found.hidden_states):
        head = torch.nn.Linear(x.shape[-1], 1)
        head(x).sum().backward()
        assert head.weight.grad.any()


@pytest.mark.parametrize("lengths", [(1, 3, 3, 16, 16), (16, 16), (5, 17, 17, 18, 30, 48, 50, 129)])
def test_attention_in_blocks_is_the_definition(lengths):
    """Kills: keys that only fill a row up and are attended to, tokens of another row or head, a lost scale."""
    qkv = torch.randn(sum(lengths), 3 * 24, dtype=torch.float64)
    want = []
    for row in qkv.split(lengths):
        q, k, v = row.view(len(row), 3, 4, 6).permute(1, 2, 0, 3)  # (N, T, D) each
        want.append(((q @ k.mT / 6**0.5).softmax(-1) @ v).transpose(0, 1).flatten(1))
    found = attention.attend_blocks(qkv, list(attention.blocks(lengths, 4)), 4)
    assert worst(found, torch.cat(want)) < 1e-12


def test_attention_meets_few_shapes():
    """Kills: blocks as wide and long as they come (oneDNN keeps a megabyte of code for each, and
    scores leave the cache), or filled up too far."""
    shapes, draw = set(), random.Random(0)
    for _ in range(500):
        middle = draw.randint(1, 512)
        lengths = sorted(
            min(512, max(1, int(draw.gauss(middle, 9)))) for _ in range(max(2, 1536 // middle))
        )
        found = list(attention.blocks(lengths, 1))
        assert [block.end for block in found[:-1]] == [block.start for block in found[1:]]
        assert found[-1].end == sum(lengths)
        cells = sum(block.bias.numel() for block in found)
        assert cells < 1.4 * sum(n + max(15, n / 8) for n in lengths)
        assert all(block.bias.numel() <= attention.BLOCK_TOKENS for block in found)
        shapes |= {(len(block.bias), block.bias.shape[2]) for block in found}
    assert len(shapes) < 36


def test_bfloat16_attends_in_blocks_on_a_cpu(monkeypatch):
    """Kills: the slow kernel where the products are faster, blocks for a few tokens, which they do not serve."""
    seen = []
    original = attention.attend_blocks
    monkeypatch.setattr(
        attention, "attend_blocks", lambda *args: seen.append(len(args[0])) or original(*args)
    )
    for dtype in (torch.float32, torch.bfloat16):
        for count in (attention.FEW, attention.FEW + 1):
            lengths = [count // 2, count - count // 2]
            qkv = torch.randn(count, 3 * 24).to(dtype)
            q, k, v = qkv.float().view(count, 3, 4, 6).unbind(dim=1)
            want = varlen_by_length(q, k, v, RowLengths(lengths)).flatten(1)
            assert worst(attention.Attention(lengths, 4)(qkv).float(), want) < 0.05
    assert seen == [attention.FEW + 1]


@pytest.mark.parametrize("pays", [False, True])
def test_int8_hands_attention_what_is_faster_here(pays, monkeypatch, operators):
    """Kills: bfloat16 in between where its products are slow, float32 where they are fast, another result."""
    monkeypatch.setattr(kernels, "bf16_pays", lambda: pays)
    _, ours = pair("AlbertModel", {**SHARED, "hidden_size": 96}, dtype=torch.float32)
    rows = [[draw + 5 for draw in range(n)] for n in (20, 19, 18, 17)]
    fast, seen = optimize(ours, torch.int8), []
    monkeypatch.setattr(
        attention.Attention, "__call__", lambda self, qkv: seen.append(qkv.dtype) or qkv[:, :96]
    )
    fast.packed(rows)
    assert set(seen) == {torch.bfloat16 if pays else torch.float32}
    monkeypatch.undo()
    got, want = fast.packed(rows).last_hidden_state, optimize(ours).packed(rows).last_hidden_state
    assert torch.nn.functional.cosine_similarity(got, want, dim=-1).min() > 0.99


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_on_a_gpu(dtype):
    """Kills: inputs made on another device, a dtype that is not the one asked for."""
    _, ours = pair(
        "AlbertForSequenceClassification", {**SHARED, "hidden_size": 64}, dtype=torch.float32
    )
    fast = optimize(ours, dtype, "cuda")
    rows = [[5, 6, 7], [8, 9], [10]]
    want = optimize(ours).packed(rows).logits
    assert worst(fast.packed(rows).logits.cpu(), want) < 0.05


def test_what_cannot_be_done_is_said():
    """Kills: silence where the fast path gives less than the model."""
    _, ours = pair("AlbertModel", SHARED, dtype=torch.float32)
    fast, inputs = optimize(ours), batch(SHARED)
    with pytest.raises(ValueError, match="attention probabilities"):
        fast(**inputs, output_attentions=True)
    with pytest.raises(ValueError, match=r"attention_mask is \(3, 1, 9, 9\), must be \(3, 9\)"):
        fast(inputs["input_ids"], torch.ones(3, 1, 9, 9))
    with pytest.raises(ValueError, match="for inference"):
        fast.train()
    with pytest.raises(ValueError, match="moved or cast"):
        fast.to(torch.float64)
    with pytest.raises(ValueError, match="each of 1 to 20 tokens"):
        fast.packed([[1, 2], []])
    with pytest.raises(ValueError, match="each of 1 to 20 tokens"):
        fast.packed([[1] * 21])
    with pytest.raises(ValueError, match="input_ids go from 5 to 61, must be 0 to 60"):
        fast.packed([[5, 61]])
    with pytest.raises(ValueError, match="float64 is not one of"):
        optimize(ours, torch.float64)
    with pytest.raises(ValueError, match="float16 is for GPUs"):
        optimize(ours, torch.float16)
    with pytest.raises(ValueError, match="calibration is for"):
        optimize(ours, calibration=[[1, 2]])
    with pytest.raises(TypeError, match="optimize takes one of AlbertModel"):
        optimize(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    "config", [TINY, {**SHARED, "intermediate_size": 200}], ids=["groups", "shared"]
)
def test_int8_is_close_and_does_not_depend_on_the_neighbours(config, operators):
    """Kills: a wrong zero point, scale or fold of the mean, half of the feed-forward left out, a batch's ranges."""
    _, ours = pair("AlbertModel", config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in ours.encoder.parameters():
            parameter.mul_(0.3)
        for layer in (m for m in ours.modules() if isinstance(m, albert_torch.model.AlbertLayer)):
            layer.full_layer_layer_norm.bias[3] = -8.0  # an outlier, as trained ALBERTs have
    fast = optimize(ours, torch.int8)
    inputs = inputs_of("AlbertModel", config, lengths=(9, 5, 9, 1))
    got, want = fast(**inputs).last_hidden_state, ours(**inputs).last_hidden_state
    real = inputs["attention_mask"].bool()
    keep = [i for i in range(config["hidden_size"]) if i != 3]  # it would hide the others
    assert (
        torch.nn.functional.cosine_similarity(got[..., keep], want[..., keep], dim=-1)[real].mean()
        > 0.99
    )
    alone = fast(**{key: value[2:3] for key, value in inputs.items()}).last_hidden_state
    assert worst(alone[0], got[2]) < 1e-5


def test_int8_plain_and_fused_agree(monkeypatch):
    """Kills: a fallback that computes something else."""
    if not int8.fused_works():
        pytest.skip("oneDNN's int8 operators do not run here")
    _, ours = pair("AlbertModel", {**SHARED, "intermediate_size": 200}, dtype=torch.float32)
    inputs = inputs_of("AlbertModel", SHARED)
    fused = optimize(ours, torch.int8)(**inputs).last_hidden_state
    monkeypatch.setattr(int8, "fused_works", lambda: False)
    plain = optimize(ours, torch.int8)(**inputs).last_hidden_state
    assert (
        torch.nn.functional.cosine_similarity(fused, plain, dim=-1)[
            inputs["attention_mask"].bool()
        ].min()
        > 0.9995
    )


@pytest.mark.assets
def test_int8_keeps_a_trained_model(assets):
    """Kills: naive int8 (0.995), which rounding errors in twelve runs of one layer break."""
    model = albert_torch.AlbertModel.from_pretrained(
        assets / "assets/plbert", add_pooling_layer=False, dtype=torch.float32
    )
    symbols = json.loads((assets / "assets/plbert/vocab.json").read_text(encoding="utf-8"))
    lines = (assets / "data/SST-2/dev.tsv").read_text(encoding="utf-8").splitlines()[1:13]
    rows = [[symbols[c] for c in line if c in symbols] for line in lines]
    fast, plain = optimize(model, torch.int8), optimize(model)
    got, want = (x.packed(rows).last_hidden_state for x in (fast, plain))
    assert torch.nn.functional.cosine_similarity(got, want, dim=-1).mean() > 0.998
