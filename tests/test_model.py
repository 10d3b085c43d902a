"""The encoder against transformers, and what `AlbertModel` promises beyond it."""

import copy
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.constants import GROUP_IDS, GROUPS, SHARED, TINY
from helpers.reference import batch, pair, run, worst
from torch import nn

from albert_torch import AlbertConfig, AlbertModel
from albert_torch.attention import PADDED_BACKENDS, backend_names


def states(output: Any, config: dict[str, Any]) -> Any:
    """transformers' hidden states after each run of a group; version 5 keeps inner layers too."""
    return output.hidden_states[:: (len(output.hidden_states) - 1) // config["num_hidden_layers"]]


@pytest.mark.parametrize("config", GROUPS, ids=GROUP_IDS)
@pytest.mark.parametrize(
    ("attention", "unpad"),
    [(name, False) for name in PADDED_BACKENDS] + [(name, True) for name in backend_names()],
)
@pytest.mark.parametrize("lengths", [(9, 5, 1), (7, 7)], ids=["ragged", "full"])
def test_every_hidden_state_equals_transformers(
    config: Any, unpad: bool, attention: str, lengths: Any
) -> None:
    """Catches: eps 1e-5, a swapped residual, a wrong group or inner layer, a reversed mask."""
    reference_attention = "eager" if attention == "eager" else "sdpa"
    theirs, ours = pair("AlbertModel", config, attention=reference_attention, unpad=unpad)
    ours.set_attn_implementation(attention)
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


@pytest.mark.parametrize("config", GROUPS, ids=GROUP_IDS)
@pytest.mark.parametrize("unpad", [False, True], ids=["padded", "unpad"])
def test_attentions_equal_transformers(config: Any, unpad: bool) -> None:
    """Catches: scores scaled by H instead of D, probabilities of one run for all of them."""
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


@pytest.mark.transformers5
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_masks_of_four_dimensions(attention: str) -> None:
    """Catches: queries and keys exchanged in the mask, a float mask read as bool."""
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
    ("attention", "unpad"),
    [(name, False) for name in PADDED_BACKENDS] + [(name, True) for name in backend_names()],
)
def test_a_row_with_nothing_to_attend_to_is_finite(attention: str, unpad: bool) -> None:
    """Catches: a softmax over minus infinities."""
    theirs, ours = pair("AlbertModel", SHARED, attention="sdpa", unpad=unpad)
    ours.set_attn_implementation(attention)
    inputs = batch(SHARED, (5, 3))
    inputs["attention_mask"][1] = 0
    got = run(ours, inputs).last_hidden_state
    assert got.isfinite().all()
    assert worst(got[0], run(theirs, inputs).last_hidden_state[0]) < 1e-10
    inputs["attention_mask"][0] = 0
    assert run(ours, inputs).last_hidden_state.isfinite().all()


def test_the_config_is_read_again_at_each_call() -> None:
    """Catches: settings that are fixed at construction (bert-score lowers num_hidden_layers)."""
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


def tokens_in_each_feed_forward(
    model: nn.Module, inputs: dict[str, torch.Tensor], token_mask: Any = None, **options: Any
) -> list[int]:
    """The number of tokens in each run of the shared layer's feed-forward."""
    counts: list[int] = []
    albert: Any = getattr(model, "albert", model)
    layer = albert.encoder.albert_layer_groups[0].albert_layers[0]
    hook = layer.ffn.register_forward_hook(
        lambda module, inputs, output: counts.append(output[..., 0].numel())
    )
    with torch.no_grad():
        if token_mask is not None:
            albert.encode(**inputs, token_mask=token_mask)
        else:
            model(**inputs, **options)
    hook.remove()
    return counts


@pytest.mark.parametrize("config", GROUPS, ids=GROUP_IDS)
@pytest.mark.parametrize("unpad", [False, True], ids=["padded", "unpad"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
def test_needed_tokens_are_those_of_the_whole_batch(
    config: Any, unpad: bool, checkpointing: bool
) -> None:
    """Catches: another layer cut than the last, reordered tokens, a pooler that reads zeros."""
    theirs, ours = pair("AlbertModel", config, unpad=unpad)
    inputs = batch(config)
    token_mask = torch.tensor(
        [[0, 1, 1, 0, 0, 0, 0, 0, 1], [0, 0, 1, 0, 0, 0, 1, 0, 0], [0] * 9]
    ).bool()  # one is padding
    if checkpointing:  # which only training does; there is no dropout
        ours.gradient_checkpointing_enable()
        ours.train()
    results = []
    for model, encode in ((theirs, theirs), (ours, partial(ours.encode, token_mask=token_mask))):
        output = encode(**inputs)
        needed = output.last_hidden_state[token_mask & inputs["attention_mask"].bool()]
        (needed.pow(2).sum() + output.pooler_output.sum()).backward()
        results.append(
            (needed, output.pooler_output, {name: p.grad for name, p in model.named_parameters()})
        )
    (want, want_pooled, want_gradients), (got, got_pooled, gradients) = results
    assert worst(got, want) < 1e-10
    assert worst(got_pooled, want_pooled) < 1e-10
    for name, gradient in gradients.items():
        assert worst(gradient, want_gradients[name]) < 1e-9, name
    others = ~token_mask
    others[:, 0] = False  # what the pooler reads
    assert not output.last_hidden_state[others].any()


def test_the_last_layer_ends_at_what_is_read() -> None:
    """Catches: a mask that saves no work, a classifier that computes tokens it never reads."""
    inputs = batch(SHARED)  # rows of 9, 5 and 1 tokens
    token_mask = torch.zeros(3, 9, dtype=torch.bool)
    token_mask[0, 3] = True
    model = AlbertModel(AlbertConfig(**SHARED), unpad=True)
    assert tokens_in_each_feed_forward(model, inputs, token_mask=token_mask) == [
        15,
        15,
        15,
        15,
        15,
        4,
    ]
    model = AlbertModel(AlbertConfig(**SHARED), add_pooling_layer=False)
    assert tokens_in_each_feed_forward(model, inputs, token_mask=token_mask) == [
        27,
        27,
        27,
        27,
        27,
        1,
    ]
    for name in ("AlbertForSequenceClassification", "AlbertForMultipleChoice"):
        _, classifier = pair(name, SHARED, unpad=True)
        if name == "AlbertForMultipleChoice":
            inputs = {key: value[None] for key, value in inputs.items()}
        assert tokens_in_each_feed_forward(classifier, inputs) == [15, 15, 15, 15, 15, 3]
        assert (
            tokens_in_each_feed_forward(classifier, inputs, output_hidden_states=True) == [15] * 6
        )


def test_a_token_mask_that_does_not_fit_is_refused() -> None:
    """Catches: tokens that are marked in the shape of another batch."""
    model = AlbertModel(AlbertConfig(**SHARED))
    inputs = batch(SHARED)
    with pytest.raises(ValueError, match=r"token_mask has shape \(3, 8\), must be \(3, 9\)"):
        model.encode(**inputs, token_mask=torch.ones(3, 8, dtype=torch.bool))


@pytest.mark.parametrize(
    ("attention", "function"), [("sdpa", "scaled_dot_product_attention"), ("eager", "softmax")]
)
def test_the_named_backend_is_the_one_that_runs(attention: str, function: str) -> None:
    """Catches: a switch between backends that does nothing."""
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


def test_unpad_wants_a_mask_of_rows() -> None:
    """Catches: padding that is computed because a mask does not tell which tokens are real."""
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
    """Catches: a cast to or from float32 that the reference does not make."""
    bound = {torch.float32: 2e-5, torch.bfloat16: 0.1, torch.float16: 0.02}[dtype]
    theirs, ours = pair("AlbertModel", SHARED, dtype, "sdpa", unpad)
    inputs = batch(SHARED)
    got = run(ours, inputs).last_hidden_state
    assert got.dtype == dtype
    assert worst(got, run(theirs, inputs).last_hidden_state, inputs["attention_mask"]) < bound


def test_export_and_deepcopy() -> None:
    """Catches: a branch on values, which torch.export cannot follow."""
    model = AlbertModel(AlbertConfig(**SHARED)).eval()
    inputs = batch(SHARED)
    exported = torch.export.export(copy.deepcopy(model), (), inputs).module()
    got, want = run(exported, inputs), run(model, inputs)
    assert type(got) is type(want)
    assert worst(got.last_hidden_state, want.last_hidden_state) < 1e-5


def test_the_base_shape_in_float32_stays_within_two_in_a_hundred_thousand() -> None:
    """Catches: an operation in lower precision than the reference's, which a tiny model hides."""
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
    """Catches: what random weights hide: outliers, a checkpoint without pooler."""
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
    """Catches: a file of the Hub that loads into other numbers (from the tests of transformers)."""
    model = AlbertModel.from_pretrained("albert/albert-base-v2")
    ids = torch.tensor([[0, 345, 232, 328, 740, 140, 1695, 69, 6078, 1588, 2]])
    mask = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]])
    got = run(model, {"input_ids": ids, "attention_mask": mask}).last_hidden_state[0, 1:4, 1:4]
    want = torch.tensor(
        [[-0.6513, 1.5035, -0.2766], [-0.6515, 1.5046, -0.2780], [-0.6512, 1.5049, -0.2784]]
    )
    assert worst(got, want) < 1e-4
