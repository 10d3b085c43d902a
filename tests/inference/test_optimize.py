"""`optimize` against transformers, with the fused operators and without them."""

from dataclasses import dataclass

import pytest
import torch
from helpers.constants import SHARED, TINY
from helpers.inference import model_inputs, rows_of
from helpers.reference import CLASS_NAMES, batch, pair, worst
from torch import nn

import albert_torch
from albert_torch.heads import HEADS, AlbertHeadModel
from albert_torch.inference import optimize
from albert_torch.inference.backend import CpuBackend
from albert_torch.inference.kernels import linear as linear_kernels
from albert_torch.outputs import ModelOutput

POOLED = ("pooler_output", "sop_logits")


@pytest.mark.parametrize("config", [TINY, SHARED], ids=["groups", "shared"])
@pytest.mark.parametrize("name", CLASS_NAMES)
def test_every_class_equals_transformers(name, config, operators):
    """Catches: a swapped Q, K or V; a missing bias or residual; a wrong group; rows returned in
    sorted order; another activation; padding that is attended to or not zero."""
    theirs, ours = pair(name, config)
    inputs = model_inputs(name, config, lengths=(4, 9, 1))
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
    """Catches: a state for every inner layer; a missing projection; a last layer that computes the
    first tokens only."""
    name = "AlbertForSequenceClassification"
    _, ours = pair(name, TINY, unpad=True)
    inputs = model_inputs(name, TINY)
    want = ours(**inputs, output_hidden_states=True)
    got = optimize(ours)(**inputs, output_hidden_states=True)
    assert len(got.hidden_states) == TINY["num_hidden_layers"] + 1
    assert max(map(worst, got.hidden_states, want.hidden_states)) < 5e-6
    assert worst(got.logits, want.logits) < 5e-6


def test_left_padding_holes_and_empty_rows_are_as_with_unpad():
    """Catches: a mask that is taken for a length; positions counted from the first real token; an
    error for a row without tokens."""
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
    without_mask = optimize(model)(ids).last_hidden_state
    assert worst(without_mask, model(ids).last_hidden_state) < 2e-6


def test_embeddings_positions_and_tuples():
    """Catches: arguments that are dropped or mixed up on the way to the embeddings."""
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
    """Catches: a bfloat16 path that computes in float32, or one that loses more than it must."""
    monkeypatch.setattr(linear_kernels, "bfloat16_is_fast", lambda: True)
    _, ours = pair("AlbertModel", {**SHARED, "hidden_size": 96}, dtype=torch.float32)
    inputs = model_inputs("AlbertModel", SHARED)
    fast = optimize(ours, "bfloat16")
    assert fast.encoder.backend.dtype == torch.bfloat16
    got, want = fast(**inputs).last_hidden_state, ours(**inputs).last_hidden_state
    is_token = inputs["attention_mask"].bool()
    assert nn.functional.cosine_similarity(got, want, dim=-1)[is_token].min() > 0.995
    assert worst(got, want, is_token) > 1e-4


def test_the_model_is_left_alone_and_not_followed(operators):
    """Catches: an encoder taken out of the model; weights shared with a model that goes on
    training."""
    _, ours = pair("AlbertForMaskedLM", SHARED, dtype=torch.float32)
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    fast, inputs = optimize(ours), model_inputs("AlbertForMaskedLM", SHARED)
    want = fast(**inputs).logits
    assert all(torch.equal(value, before[key]) for key, value in ours.state_dict().items())
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(1)
    assert torch.equal(fast(**inputs).logits, want)
    assert not want.requires_grad


def test_a_head_can_be_trained_on_the_outputs():
    """Catches: a call that is in inference mode as a whole, whose tensors autograd refuses."""
    _, ours = pair("AlbertModel", SHARED, dtype=torch.float32)
    output = optimize(ours)(**model_inputs("AlbertModel", SHARED), output_hidden_states=True)
    for x in (output.last_hidden_state, output.pooler_output, *output.hidden_states):
        head = nn.Linear(x.shape[-1], 1)
        head(x).sum().backward()
        assert head.weight.grad.any()


def random_model(model_class, config):
    model = model_class(albert_torch.AlbertConfig(**config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def test_the_answerability_head_keeps_its_output():
    """Catches: a subclass that is treated as its base class, whose extra output is dropped."""
    model = random_model(albert_torch.AlbertForAnswerableQuestions, TINY)
    inputs = model_inputs("AlbertForQuestionAnswering", TINY, lengths=(4, 9, 1))
    want, fast = model(**inputs), optimize(model)
    got, packed = fast(**inputs), fast.packed(*rows_of(inputs))
    assert type(got) is type(want)
    assert set(packed.values) == {"start_logits", "end_logits", "impossible_logits"}
    assert worst(got.impossible_logits, want.impossible_logits) < 5e-6
    assert worst(packed["impossible_logits"], want.impossible_logits) < 5e-6
    assert worst(got.start_logits, want.start_logits, inputs["attention_mask"]) < 5e-6


def test_values_per_row_need_the_first_token_of_every_row():
    """Catches: an output that was computed from zeros because a first token was not computed."""
    fast = optimize(random_model(albert_torch.AlbertForAnswerableQuestions, TINY))
    rows = rows_of(model_inputs("AlbertForQuestionAnswering", TINY, lengths=(4, 9)))
    some = fast.packed(*rows, needed_columns=[[0, 1], [1, 2]])
    assert set(some.values) == {"start_logits", "end_logits"}
    every = fast.packed(*rows, needed_columns=[[0, 1], [0, 2]])
    assert set(every.values) == {"start_logits", "end_logits", "impossible_logits"}


@dataclass
class ToyOutput(ModelOutput):
    loss: torch.Tensor | None = None
    token_scores: torch.Tensor | None = None
    row_scores: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@pytest.fixture
def toy_head():
    """A head that is defined outside the package: one score per token and one per row."""

    class AlbertForToyScoring(AlbertHeadModel):
        output_class = ToyOutput
        head_modules = ("token_scorer", "row_scorer")
        pooled_logits = ("row_scores",)

        def __init__(self, config, *, attn_implementation="sdpa", unpad=False):
            super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
            self.token_scorer = nn.Linear(config.hidden_size, 1)
            self.row_scorer = nn.Linear(config.hidden_size, 1)
            self.post_init()

        def compute_logits(self, hidden, pooled):
            return {
                "token_scores": self.token_scorer(hidden).squeeze(-1),
                "row_scores": self.row_scorer(pooled).squeeze(-1),
            }

    yield AlbertForToyScoring
    del HEADS["ToyScoring"]


def test_a_head_from_outside_the_package(toy_head):
    """Catches: a table of heads that a class from outside does not enter; scores per row that are
    computed from anything but the first token."""
    model = random_model(toy_head, SHARED)
    inputs = model_inputs("AlbertForTokenClassification", SHARED, lengths=(4, 9, 1))
    mask, fast = inputs["attention_mask"], optimize(model)
    got, packed = fast(**inputs), fast.packed(*rows_of(inputs))
    want = model(**inputs)
    assert type(got) is ToyOutput
    assert worst(got.token_scores, want.token_scores, mask) < 5e-6
    assert worst(packed["token_scores"], want.token_scores[mask.bool()]) < 5e-6
    assert worst(got.row_scores, want.row_scores) < 5e-6
    assert worst(packed["row_scores"], want.row_scores) < 5e-6


def test_a_backend_from_outside_the_package():
    """Catches: kernels that are chosen without asking the backend."""

    class CountingBackend(CpuBackend):
        calls = 0

        def linear(self, weights, hidden_act=None):
            kernel = super().linear(weights, hidden_act)

            def count(x, residual=None):
                self.calls += 1
                return kernel(x, residual)

            return count

    _, ours = pair("AlbertModel", SHARED, dtype=torch.float32)
    backend, inputs = CountingBackend(), model_inputs("AlbertModel", SHARED)
    got = optimize(ours, backend=backend)(**inputs).last_hidden_state
    assert worst(got, optimize(ours)(**inputs).last_hidden_state) < 1e-6
    # The projection once, and four matrix products in each layer.
    assert backend.calls == 1 + 4 * SHARED["num_hidden_layers"]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_on_a_gpu(dtype):
    """Catches: inputs created on another device; a dtype that is not the one asked for."""
    _, ours = pair(
        "AlbertForSequenceClassification", {**SHARED, "hidden_size": 64}, dtype=torch.float32
    )
    fast = optimize(ours, dtype, "cuda")
    rows = [[5, 6, 7], [8, 9], [10]]
    want = optimize(ours).packed(rows)["logits"]
    assert worst(fast.packed(rows)["logits"].cpu(), want) < 0.05


def test_errors_say_what_cannot_be_done():
    """Catches: silence where the fast path does less than the model."""
    _, ours = pair("AlbertModel", SHARED, dtype=torch.float32)
    fast, inputs = optimize(ours), batch(SHARED)
    with pytest.raises(ValueError, match="attention probabilities"):
        fast(**inputs, output_attentions=True)
    with pytest.raises(ValueError, match=r"shape \(3, 1, 9, 9\), .* takes only \(3, 9\)"):
        fast(inputs["input_ids"], torch.ones(3, 1, 9, 9))
    with pytest.raises(ValueError, match="for inference"):
        fast.train()
    with pytest.raises(ValueError, match="moved or cast"):
        fast.to(torch.float64)
    with pytest.raises(ValueError, match="each of 1 to 20 tokens"):
        fast.packed([[1, 2], []])
    with pytest.raises(ValueError, match="each of 1 to 20 tokens"):
        fast.packed([[1] * 21])
    with pytest.raises(ValueError, match=r"input_ids .*5 to 61"):
        fast.packed([[5, 61]])
    with pytest.raises(ValueError, match="float64 is not one of"):
        optimize(ours, torch.float64)
    with pytest.raises(ValueError, match="int4 is not one of"):
        optimize(ours, "int4")
    with pytest.raises(ValueError, match="float16 is for GPUs"):
        optimize(ours, torch.float16)
    with pytest.raises(ValueError, match="calibration rows are for"):
        optimize(ours, calibration=[[1, 2]])
    with pytest.raises(TypeError, match="optimize takes a model of one of AlbertModel"):
        optimize(nn.Linear(2, 2))
    with pytest.raises(KeyError, match="no 'logits', only"):
        fast.packed([[5, 6]])["logits"]
