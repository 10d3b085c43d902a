"""The encoder against transformers, number by number, and what `AlbertModel` promises beyond it."""

import copy
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.constants import SHARED, TINY
from helpers.reference import batch, pair, worst
from torch import nn

from albert_torch import AlbertConfig, AlbertModel
from albert_torch.activations import ACTIVATIONS

GROUPS = [
    {**TINY, "num_hidden_groups": groups, "inner_group_num": inner}
    for groups in (1, 3)
    for inner in (1, 2)
]


def run(model: nn.Module, inputs: dict[str, torch.Tensor], **options: Any) -> Any:
    with torch.no_grad():
        return model(**inputs, **options)


def states(output: Any, config: dict[str, Any]) -> Any:
    """transformers' hidden states, one for each run of a group: it token_masks one for each inner layer."""
    return output.hidden_states[:: config["inner_group_num"]]


@pytest.mark.parametrize(
    "config", GROUPS, ids=lambda c: f"G{c['num_hidden_groups']}-inner{c['inner_group_num']}"
)
@pytest.mark.parametrize("unpad", [False, True], ids=["padded", "unpad"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("lengths", [(9, 5, 1), (7, 7)], ids=["ragged", "full"])
def test_every_hidden_state_equals_transformers(
    config: Any, unpad: bool, attention: str, lengths: Any
) -> None:
    """Kills: eps 1e-5, a swapped residual, a group index off by one, an ignored inner layer, a mask turned round."""
    theirs, ours = pair("AlbertModel", config, attention=attention, unpad=unpad)
    inputs = batch(config, lengths)
    want = run(theirs, inputs, output_hidden_states=True)
    got = run(ours, inputs, output_hidden_states=True)
    real = inputs["attention_mask"]
    where = real if unpad else None  # padded, every position must be equal, those of padding too
    assert len(got.hidden_states) == config["num_hidden_layers"] + 1
    for mine, other in zip(got.hidden_states, states(want, config), strict=True):
        assert worst(mine, other, where) < 1e-10
        assert not unpad or not mine[~real.bool()].any()
    assert worst(got.last_hidden_state, want.last_hidden_state, where) < 1e-10
    assert worst(got.pooler_output, want.pooler_output) < 1e-10


@pytest.mark.parametrize(
    "config", GROUPS, ids=lambda c: f"G{c['num_hidden_groups']}-inner{c['inner_group_num']}"
)
@pytest.mark.parametrize("unpad", [False, True], ids=["padded", "unpad"])
def test_attentions_equal_transformers(config: Any, unpad: bool) -> None:
    """Kills: scores scaled by H in place of D, probabilities of one run given for all, an empty tuple under sdpa."""
    theirs, ours = pair("AlbertModel", config)
    ours.unpad = unpad
    ours.set_attn_implementation("sdpa")
    inputs = batch(config)
    want = run(theirs, inputs, output_attentions=True)
    got = run(ours, inputs, output_attentions=True)
    assert len(got.attentions) == config["num_hidden_layers"] * config["inner_group_num"]
    where = (
        inputs["attention_mask"][:, None, :, None].expand_as(got.attentions[0]) if unpad else None
    )
    for mine, other in zip(got.attentions, want.attentions, strict=True):
        assert worst(mine, other, where) < 1e-10
    assert run(ours, inputs).attentions is None


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_are_those_of_transformers(name: str) -> None:
    """Kills: erf for tanh, or the other way round, behind a name."""
    config = {**SHARED, "hidden_act": name}
    theirs, ours = pair("AlbertModel", config)
    inputs = batch(config)
    assert worst(run(ours, inputs).last_hidden_state, run(theirs, inputs).last_hidden_state) < 1e-10


def test_an_activation_nobody_uses_is_named() -> None:
    with pytest.raises(ValueError, match=r"hidden_act='gelu_old' is not known; use one of gelu,"):
        AlbertModel(AlbertConfig(**{**SHARED, "hidden_act": "gelu_old"}))


def test_positions_segments_and_embeddings_can_be_given() -> None:
    """Kills: an ignored position_ids or token_type_ids, embeddings that skip the LayerNorm."""
    theirs, ours = pair("AlbertModel", TINY)
    inputs = batch(TINY, (6, 4))
    inputs["position_ids"] = torch.randint(0, TINY["max_position_embeddings"], (2, 6))
    assert worst(run(ours, inputs).last_hidden_state, run(theirs, inputs).last_hidden_state) < 1e-10
    by_ids = run(ours, inputs).last_hidden_state
    ids = inputs.pop("input_ids")
    inputs["inputs_embeds"] = ours.get_input_embeddings()(ids)
    assert worst(run(ours, inputs).last_hidden_state, by_ids) == 0
    inputs["position_ids"] = inputs["position_ids"][:1]
    assert worst(run(ours, inputs).last_hidden_state, run(theirs, inputs).last_hidden_state) < 1e-10


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_masks_of_four_dimensions(attention: str) -> None:
    """Kills: queries and keys exchanged in the mask, a float mask read as a bool."""
    theirs, ours = pair("AlbertModel", SHARED, attention=attention)
    ids = batch(SHARED, (6, 6))["input_ids"]
    allowed = torch.rand(2, 1, 6, 6) < 0.6
    allowed |= torch.eye(6, dtype=torch.bool)
    added = torch.zeros(2, 1, 6, 6, dtype=torch.float64).masked_fill(
        ~allowed, torch.finfo(torch.float64).min
    )
    want = run(theirs, {"input_ids": ids, "attention_mask": added}).last_hidden_state
    for mask in (
        allowed,
        allowed.long(),
        added,
        allowed.expand(2, TINY["num_attention_heads"], 6, 6),
    ):
        assert (
            worst(run(ours, {"input_ids": ids, "attention_mask": mask}).last_hidden_state, want)
            < 1e-10
        )
    bias = torch.randn(2, 1, 6, 6, dtype=torch.float64)
    want = run(theirs, {"input_ids": ids, "attention_mask": bias}).last_hidden_state
    assert (
        worst(run(ours, {"input_ids": ids, "attention_mask": bias}).last_hidden_state, want) < 1e-10
    )


@pytest.mark.parametrize(
    ("attention", "unpad"), [("eager", False), ("sdpa", False), ("sdpa", True)]
)
def test_a_row_with_nothing_to_attend_to_is_finite(attention: str, unpad: bool) -> None:
    """Kills: a softmax over minus infinities."""
    theirs, ours = pair("AlbertModel", SHARED, attention=attention, unpad=unpad)
    inputs = batch(SHARED, (5, 3))
    inputs["attention_mask"][1] = 0
    got = run(ours, inputs).last_hidden_state
    assert got.isfinite().all()
    assert worst(got[0], run(theirs, inputs).last_hidden_state[0]) < 1e-10
    inputs["attention_mask"][0] = 0
    assert run(ours, inputs).last_hidden_state.isfinite().all()


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("unpad", [False, True])
def test_chunks_of_the_feed_forward_change_nothing(chunk: int, unpad: bool) -> None:
    """Kills: chunks along the batch, a lost last chunk."""
    _, ours = pair("AlbertModel", SHARED, unpad=unpad)
    inputs = batch(SHARED)
    want = run(ours, inputs).last_hidden_state
    ours.config.chunk_size_feed_forward = chunk
    calls = []
    ours.encoder.albert_layer_groups[0].albert_layers[0].ffn.register_forward_hook(
        lambda *_: calls.append(1)
    )
    assert worst(run(ours, inputs).last_hidden_state, want) < 1e-12
    tokens = int(inputs["attention_mask"].sum()) if unpad else 9
    assert len(calls) == TINY["num_hidden_layers"] * -(-tokens // chunk)


def test_the_config_is_read_again_at_each_call() -> None:
    """Kills: a number of layers, or what to return, fixed at construction (bert-score lowers num_hidden_layers)."""
    config = AlbertConfig(**SHARED)
    model = AlbertModel(config).eval()
    inputs = batch(SHARED)
    before = run(model, inputs, output_hidden_states=True)
    config.num_hidden_layers = 2
    config.output_hidden_states = True
    config.output_attentions = True
    after = run(model, inputs)
    assert len(after.hidden_states) == 3
    assert len(after.attentions) == 2
    assert worst(after.last_hidden_state, before.hidden_states[2]) < 1e-5
    assert run(model, inputs, output_hidden_states=False).hidden_states is None
    config.return_dict = False
    assert isinstance(run(model, inputs), tuple)
    assert run(model, inputs, return_dict=True).attentions is not None


def seen_by_the_feed_forward(
    model: nn.Module, inputs: dict[str, torch.Tensor], token_mask: Any = None, **options: Any
) -> list[int]:
    """The number of tokens in each run of the shared layer's feed-forward."""
    seen: list[int] = []
    albert: Any = getattr(model, "albert", model)
    layer = albert.encoder.albert_layer_groups[0].albert_layers[0]
    hook = layer.ffn.register_forward_hook(
        lambda module, given, made: seen.append(made[..., 0].numel())
    )
    with torch.no_grad():
        if token_mask is not None:
            albert.encode(**inputs, token_mask=token_mask)
        else:
            model(**inputs, **options)
    hook.remove()
    return seen


@pytest.mark.parametrize(
    "config", GROUPS, ids=lambda c: f"G{c['num_hidden_groups']}-inner{c['inner_group_num']}"
)
@pytest.mark.parametrize("unpad", [False, True], ids=["padded", "unpad"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
def test_kept_tokens_are_those_of_the_whole(config: Any, unpad: bool, checkpointing: bool) -> None:
    """Kills: another layer cut than the last, tokens in another order, a pooler that reads zeros, a lost gradient."""
    theirs, ours = pair("AlbertModel", config, unpad=unpad)
    inputs = batch(config)
    token_mask = torch.tensor(
        [[0, 1, 1, 0, 0, 0, 0, 0, 1], [0, 0, 1, 0, 0, 0, 1, 0, 0], [0] * 9]
    ).bool()  # one is padding
    if checkpointing:  # which only training does; there is no dropout
        ours.gradient_checkpointing_enable()
        ours.train()
    found = []
    for model, encode in ((theirs, theirs), (ours, partial(ours.encode, token_mask=token_mask))):
        output = encode(**inputs)
        kept = output.last_hidden_state[token_mask & inputs["attention_mask"].bool()]
        (kept.pow(2).sum() + output.pooler_output.sum()).backward()
        found.append(
            (kept, output.pooler_output, {name: p.grad for name, p in model.named_parameters()})
        )
    (want, want_pooled, want_gradients), (got, got_pooled, gradients) = found
    assert worst(got, want) < 1e-10
    assert worst(got_pooled, want_pooled) < 1e-10
    for name, gradient in gradients.items():
        assert worst(gradient, want_gradients[name]) < 1e-9, name
    others = ~token_mask
    others[:, 0] = False  # what the pooler reads
    assert not output.last_hidden_state[others].any()


def test_the_last_layer_ends_at_what_is_read() -> None:
    """Kills: `token_mask` that saves nothing, a classifier that computes tokens it never reads, hidden states cut short."""
    inputs = batch(SHARED)  # rows of 9, 5 and 1 tokens
    token_mask = torch.zeros(3, 9, dtype=torch.bool)
    token_mask[0, 3] = True
    model = AlbertModel(AlbertConfig(**SHARED), unpad=True)
    assert seen_by_the_feed_forward(model, inputs, token_mask=token_mask) == [15, 15, 15, 15, 15, 4]
    model = AlbertModel(AlbertConfig(**SHARED), add_pooling_layer=False)
    assert seen_by_the_feed_forward(model, inputs, token_mask=token_mask) == [27, 27, 27, 27, 27, 1]
    for name in ("AlbertForSequenceClassification", "AlbertForMultipleChoice"):
        _, classifier = pair(name, SHARED, unpad=True)
        if name == "AlbertForMultipleChoice":
            inputs = {key: value[None] for key, value in inputs.items()}
        assert seen_by_the_feed_forward(classifier, inputs) == [15, 15, 15, 15, 15, 3]
        assert seen_by_the_feed_forward(classifier, inputs, output_hidden_states=True) == [15] * 6


def test_token_mask_that_does_not_fit_is_refused() -> None:
    """Kills: tokens marked in another batch's shape, hidden states of which the last is cut."""
    model = AlbertModel(AlbertConfig(**SHARED))
    inputs = batch(SHARED)
    with pytest.raises(ValueError, match=r"token_mask has shape \(3, 8\), must be \(3, 9\)"):
        model.encode(**inputs, token_mask=torch.ones(3, 8, dtype=torch.bool))


@pytest.mark.parametrize("unpad", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(unpad: bool) -> None:
    """Kills: dropout drawn anew in the second pass, a run left out, a checkpoint for each stored layer only."""
    config = {
        **SHARED,
        "hidden_dropout_prob": 0.3,
        "attention_probs_dropout_prob": 0.2,
        "ffn_dropout_prob": 0.1,
    }
    plain = AlbertModel(AlbertConfig(**config), unpad=unpad).double().train()
    saving = copy.deepcopy(plain)
    saving.gradient_checkpointing_enable()
    runs: list[int] = []
    saving.encoder.albert_layer_groups[0].register_forward_pre_hook(lambda *_: runs.append(1))
    inputs = batch(config)
    for model in (plain, saving):
        torch.manual_seed(1)
        output = model(**inputs, output_hidden_states=True, output_attentions=True)
        (
            output.pooler_output.sum()
            + output.hidden_states[2].sum()
            + output.attentions[1].square().sum()
        ).backward()
    assert len(runs) == 2 * config["num_hidden_layers"]
    assert len(output.attentions) == config["num_hidden_layers"]
    for mine, other in zip(saving.parameters(), plain.parameters(), strict=True):
        assert worst(mine.grad, other.grad) < 1e-12
    runs.clear()
    saving.eval()(**inputs)
    assert len(runs) == config["num_hidden_layers"]


def test_every_dropout_fires_as_often_as_it_should() -> None:
    """Kills: a dropout declared and never called, or called in eval mode (transformers never calls the last)."""
    rates = {
        "hidden_dropout_prob": 0.11,
        "attention_probs_dropout_prob": 0.22,
        "ffn_dropout_prob": 0.33,
    }
    model = AlbertModel(AlbertConfig(**SHARED, **rates), attn_implementation="eager").train()
    counts: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(
                lambda *_, name=name: counts.__setitem__(
                    name.split(".")[-1], counts.get(name.split(".")[-1], 0) + 1
                )
            )
    inputs = batch(SHARED)
    first = model(**inputs).last_hidden_state
    layers = SHARED["num_hidden_layers"]
    assert counts == {"dropout": 1 + layers, "output_dropout": layers}
    assert worst(first, model(**inputs).last_hidden_state) > 1e-3


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_dropout_fires_in_training_alone(attention: str) -> None:
    """Kills: a backend that forgets its dropout, or draws it in eval mode."""
    config = AlbertConfig(**SHARED, attention_probs_dropout_prob=0.5)
    model = AlbertModel(config, attn_implementation=attention).train()
    inputs = batch(SHARED)
    assert worst(model(**inputs).last_hidden_state, model(**inputs).last_hidden_state) > 1e-3
    model.eval()
    assert worst(model(**inputs).last_hidden_state, model(**inputs).last_hidden_state) == 0


@pytest.mark.parametrize(
    ("attention", "function"), [("sdpa", "scaled_dot_product_attention"), ("eager", "softmax")]
)
def test_the_named_backend_is_the_one_that_runs(attention: str, function: str) -> None:
    """Kills: a backend switch that does nothing."""
    model = AlbertModel(AlbertConfig(**SHARED), attn_implementation=attention).eval()
    with torch.profiler.profile() as profile:
        run(model, batch(SHARED))
    names = {event.key for event in profile.key_averages()}
    assert ("aten::scaled_dot_product_attention" in names) == (attention == "sdpa")
    assert any(function in name for name in names)
    with pytest.raises(
        ValueError,
        match=r"attn_implementation='flash' is not known; use one of eager, sdpa, varlen",
    ):
        model.set_attn_implementation("flash")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "exactly one of input_ids and inputs_embeds"),
        (
            {"input_ids": [[1]], "inputs_embeds": [[[1.0] * 10]]},
            "exactly one of input_ids and inputs_embeds",
        ),
        (
            {"input_ids": [1, 2, 3]},
            r"input_ids has shape \(3,\), must be \(B, T\).*input_ids\[None\]",
        ),
        ({"input_ids": [[[1, 2]]]}, r"input_ids has shape \(1, 1, 2\), must be \(B, T\)"),
        ({"input_ids": [[1.0, 2.0]]}, r"input_ids has dtype torch.float32, must be torch.long"),
        ({"input_ids": [[True, False]]}, r"input_ids has dtype torch.bool, must be torch.long"),
        ({"input_ids": [[3, 61]]}, r"input_ids range from 3 to 61, must be 0 to 60"),
        ({"input_ids": [[3, -1]]}, r"input_ids range from -1 to 3, must be 0 to 60"),
        (
            {"input_ids": [[3] * 21]},
            r"rows have 21 tokens, but the model has 20 positions: truncate to max_length=20",
        ),
        (
            {"input_ids": [[3, 4]], "position_ids": [[0, 20]]},
            r"position_ids range from 0 to 20, must be 0 to 19",
        ),
        (
            {"input_ids": [[3, 4]], "position_ids": [[0, 1, 2]]},
            r"position_ids has shape \(1, 3\), must be \(1, 2\)",
        ),
        (
            {"input_ids": [[3, 4]], "token_type_ids": [[0, 3]]},
            r"token_type_ids range from 0 to 3, must be 0 to 2",
        ),
        (
            {"input_ids": [[3, 4]], "token_type_ids": [0, 1]},
            r"token_type_ids has shape \(2,\), must be \(1, 2\)",
        ),
        (
            {"input_ids": [[3, 4]], "attention_mask": [[1, 1, 1]]},
            r"attention_mask has shape \(1, 3\), must be \(1, 2\)",
        ),
        (
            {"input_ids": [[3, 4]], "attention_mask": [[[1, 1]]]},
            r"attention_mask has shape \(1, 1, 2\), must be \(1, 2\)",
        ),
        (
            {"inputs_embeds": [[[0.0] * 24]]},
            r"inputs_embeds has 24 features per token, must have embedding_size=10",
        ),
        (
            {"inputs_embeds": [[0.0] * 10]},
            r"inputs_embeds has shape \(1, 10\), must be \(B, T, E\)",
        ),
    ],
)
def test_bad_inputs_say_what_to_do(inputs: dict[str, Any], message: str) -> None:
    """Kills: an error from deep inside torch that names neither the argument nor the rule."""
    model = AlbertModel(AlbertConfig(**TINY)).eval()
    with pytest.raises(ValueError, match=message):
        run(model, {name: torch.tensor(value) for name, value in inputs.items()})


@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (0, 0)])
def test_an_empty_batch_or_row_is_refused(shape: tuple[int, int]) -> None:
    model = AlbertModel(AlbertConfig(**TINY)).eval()
    with pytest.raises(
        ValueError,
        match=r"input_ids has shape \(\d, \d\): a batch needs at least one row and one token",
    ):
        run(model, {"input_ids": torch.zeros(shape, dtype=torch.long)})


def test_unpad_wants_a_mask_of_rows() -> None:
    model = AlbertModel(AlbertConfig(**TINY), unpad=True).eval()
    inputs = {
        "input_ids": torch.ones(1, 3, dtype=torch.long),
        "attention_mask": torch.ones(1, 1, 3, 3),
    }
    with pytest.raises(ValueError, match=r"unpad=True needs an attention_mask of shape \(B, T\)"):
        run(model, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("unpad", [False, True], ids=["padded", "unpad"])
def test_lower_precision_stays_near_transformers(dtype: torch.dtype, unpad: bool) -> None:
    """Kills: a cast to or from float32 on the way that the reference does not make."""
    bound = {torch.float32: 2e-5, torch.bfloat16: 0.1, torch.float16: 0.02}[dtype]
    theirs, ours = pair("AlbertModel", SHARED, dtype, "sdpa", unpad)
    inputs = batch(SHARED)
    got = run(ours, inputs).last_hidden_state
    assert got.dtype == dtype
    assert worst(got, run(theirs, inputs).last_hidden_state, inputs["attention_mask"]) < bound


def test_export_and_deepcopy() -> None:
    """Kills: a branch on values that torch.export cannot follow."""
    model = AlbertModel(AlbertConfig(**SHARED)).eval()
    inputs = batch(SHARED)
    exported = torch.export.export(copy.deepcopy(model), (), inputs).module()
    got, want = run(exported, inputs), run(model, inputs)
    assert type(got) is type(want)
    assert worst(got.last_hidden_state, want.last_hidden_state) < 1e-5


def test_the_base_shape_in_float32_stays_within_two_in_a_hundred_thousand() -> None:
    """Kills: an operation in lower precision than the reference's, which a tiny model hides."""
    config = AlbertConfig.preset("albert-base-v2")
    theirs = transformers.AlbertModel(transformers.AlbertConfig(**config.to_dict())).eval()
    ours = AlbertModel(config).eval()
    ours.load_state_dict(theirs.state_dict())
    inputs = batch(config.to_dict(), (24, 7))
    want = run(theirs, inputs, output_hidden_states=True)
    got = run(ours, inputs, output_hidden_states=True)
    for mine, other in zip(got.hidden_states, want.hidden_states, strict=True):
        assert worst(mine, other) < 2e-5
    ours.unpad = True
    assert (
        worst(run(ours, inputs).last_hidden_state, want.last_hidden_state, inputs["attention_mask"])
        < 2e-5
    )


@pytest.mark.assets
def test_a_trained_checkpoint_equals_transformers(assets: Path) -> None:
    """Kills: what random weights hide: outliers, a checkpoint without pooler.  25 phoneme strings, 5 to 500 symbols."""
    folder = assets / "assets" / "plbert"
    theirs = transformers.AlbertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    ours = AlbertModel.from_pretrained(folder, add_pooling_layer=False)
    symbols = json.loads((folder / "vocab.json").read_text())
    speech = (
        "ðə kwˈɪk bɹˈaʊn fˈɑːks dʒˈʌmps ˌoʊvɚ ðə lˈeɪzi dˈɑːɡ, ænd ðɛn ɪt slˈiːps bᵻnˈiːθ ðɪ ˈoʊk. "
    )
    text = [symbols[symbol] for symbol in speech * 6 if symbol in symbols]
    assert len(text) > 480
    for length in (
        5,
        6,
        8,
        10,
        13,
        16,
        20,
        25,
        32,
        40,
        50,
        64,
        80,
        100,
        128,
        160,
        200,
        240,
        280,
        320,
        360,
        400,
        450,
        500,
    ):
        ids = torch.tensor([[0, *(text * 2)[length : 2 * length - 2], 0]])
        with torch.no_grad():
            want = theirs(ids, output_hidden_states=True).hidden_states
            got = ours(ids, output_hidden_states=True).hidden_states
        assert ids.shape == (1, length)
        assert len(got) == 13
        assert max(worst(mine, other) for mine, other in zip(got, want, strict=True)) < 5e-5, length


@pytest.mark.network
def test_the_published_numbers_of_base_v2() -> None:
    """Kills: a Hub file that loads into other numbers (the values are those that transformers' own tests hold)."""
    model = AlbertModel.from_pretrained("albert/albert-base-v2")
    ids = torch.tensor([[0, 345, 232, 328, 740, 140, 1695, 69, 6078, 1588, 2]])
    mask = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]])
    got = run(model, {"input_ids": ids, "attention_mask": mask}).last_hidden_state[0, 1:4, 1:4]
    want = torch.tensor(
        [[-0.6513, 1.5035, -0.2766], [-0.6515, 1.5046, -0.2780], [-0.6512, 1.5049, -0.2784]]
    )
    assert worst(got, want) < 1e-4
