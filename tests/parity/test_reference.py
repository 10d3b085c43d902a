"""Heads that transformers does not have, among them heads that are defined outside the package."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.constants import TINY
from torch import Tensor, nn
from torch.nn import functional as F

from albert_torch import AlbertConfig
from albert_torch.heads import HEADS, AlbertHeadModel
from albert_torch.outputs import MaskedLMOutput, MultipleChoiceModelOutput
from albert_torch.parity import ParityOptions, check
from albert_torch.parity.compare import compare, observe
from albert_torch.parity.inputs import make_batches, random_inputs
from albert_torch.parity.reference import generate_checkpoint, load_reference
from albert_torch.parity.report import format_table

CONFIG = {**TINY, "max_position_embeddings": 32}


class AlbertForParityRanking(AlbertHeadModel):
    """A head with choices and a pooler."""

    output_class = MultipleChoiceModelOutput
    head_modules = ("parity_ranking",)
    uses_pooler = True
    reads_pooler_only = True
    pooled_logits = ("logits",)
    has_choices = True

    def __init__(self, config: AlbertConfig, **options: Any) -> None:
        super().__init__(config, **options)
        self.parity_ranking = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        return {"logits": self.parity_ranking(pooled).squeeze(-1)}

    def compute_loss(self, logits: Any, labels: Any) -> Tensor:
        return F.mse_loss(logits["logits"], labels["labels"])

    def example_labels(self, input_ids: Tensor, attention_mask: Tensor, generator: Any) -> Any:
        return {"labels": torch.randn(input_ids.shape[:2], generator=generator).double()}


class AlbertForParityCopying(AlbertHeadModel):
    """A head without a pooler and without example labels, whose weight is tied to the encoder."""

    output_class = MaskedLMOutput
    head_modules = ("parity_copying",)
    _tied_weights_keys = {"parity_copying.weight": "albert.embeddings.word_embeddings.weight"}  # noqa: RUF012

    def __init__(self, config: AlbertConfig, **options: Any) -> None:
        super().__init__(config, **options)
        self.parity_copying = nn.Linear(config.embedding_size, config.vocab_size)
        self.post_init()

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        return {"logits": self.parity_copying(hidden[..., : self.config.embedding_size])}


@pytest.fixture(params=["ParityRanking", "ParityCopying", "AnswerableQuestions"])
def head(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_a_head_that_transformers_does_not_have_is_compared(tmp_path: Path, head: str) -> None:
    """Catches: a table of heads apart from `HEADS`, and a head that is skipped in silence."""
    generate_checkpoint(head, CONFIG, tmp_path, seed=0)
    report = check(tmp_path, ParityOptions(heads=[head]))
    assert report.equal, format_table(report)
    categories = {one.quantity.category for case in report.cases for one in case.measurements}
    assert categories >= {"weights", "hidden", "attn", "logits", "grad"}
    assert ("loss" in categories) == (head != "ParityCopying")
    assert any(note.startswith(f"{head}: transformers has no such class") for note in report.notes)


def test_a_fault_below_such_a_head_is_found(tmp_path: Path, head: str) -> None:
    """Catches: a reference that runs on our encoder, and so cannot differ."""
    generate_checkpoint(head, CONFIG, tmp_path, seed=0)
    ours: Any = HEADS[head].from_pretrained(tmp_path, attn_implementation="sdpa").double()
    reference: Any = copy.deepcopy(load_reference(ours, tmp_path, {}, "sdpa")).double()
    assert type(reference.albert).__module__.startswith("transformers.")
    assert ours.state_dict().keys() == reference.state_dict().keys()
    (batch,) = make_batches(ours, random_inputs(ours.config, 0), 0)
    theirs = observe(reference, batch)
    assert all(one.ok for one in compare(observe(ours, batch), theirs, tolerance=1e-10))
    with torch.no_grad():
        ours.albert.encoder.embedding_hidden_mapping_in.bias[0] += 1e-6
    wrong = next(
        one for one in compare(observe(ours, batch), theirs, tolerance=1e-10) if not one.ok
    )
    assert wrong.quantity.name == "hidden 0/6"


def test_every_parameter_of_a_generated_checkpoint_is_random(tmp_path: Path, head: str) -> None:
    """Catches: biases of 0 and LayerNorms of 1, in which many faults cannot be seen."""
    generate_checkpoint(head, CONFIG, tmp_path, seed=0)
    for name, parameter in HEADS[head].from_pretrained(tmp_path).named_parameters():
        assert parameter.numel() == 1 or parameter.std() > 0.01, name
