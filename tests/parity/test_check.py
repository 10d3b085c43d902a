"""The check as a whole: equal models pass in every quantity, and errors say what is wrong."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.constants import SHARED, TINY
from helpers.parity_reports import OUR_HEADS, TRANSFORMERS_HEADS

from albert_torch import CheckpointError
from albert_torch.heads import HEADS
from albert_torch.parity import ParityOptions, check
from albert_torch.parity.reference import generate_checkpoint
from albert_torch.parity.report import format_table

FAST: dict[str, Any] = {"dtypes": ["float64"], "backends": ["sdpa"]}


@pytest.mark.parametrize("head", OUR_HEADS)
def test_every_head_is_equal_and_every_quantity_is_measured(
    checkpoints: dict[str, Path], head: str
) -> None:
    """Catches: a quantity that is never compared, a skipped backend, a tolerance below rounding."""
    report = check(checkpoints[head], ParityOptions(heads=[head]))
    assert report.equal, format_table(report)
    weights, *cases = report.cases
    model = HEADS[head].from_pretrained(checkpoints[head])
    assert [one.quantity.name for one in weights.measurements] == list(model.state_dict())
    assert [(case.dtype, case.backend) for case in cases] == [
        (dtype, backend)
        for dtype in ("float64", "float32", "bfloat16")
        for backend in ("eager", "sdpa", "unpad")
    ]
    for case in cases:
        quantities = [one.quantity for one in case.measurements]
        hidden = [quantity for quantity in quantities if quantity.category == "hidden"]
        assert [one.layer for one in hidden if one.layer is not None] == list(range(7))
        num_attentions = TINY["num_hidden_layers"] * TINY["inner_group_num"]
        assert sum(quantity.category == "attn" for quantity in quantities) == (
            num_attentions if case.backend == "eager" else 0
        )
        has_loss = head != "Model"
        if head in ("QuestionAnswering", "AnswerableQuestions") and case.backend == "unpad":
            has_loss = False
        categories = {quantity.category for quantity in quantities}
        assert ("loss" in categories) == has_loss
        assert ("logits" in categories) == (head != "Model")
        assert ("pooled" in categories) == (model.base_model.pooler is not None)
        names = {quantity.name for quantity in quantities if quantity.category == "grad"}
        parameters = {name for name, _ in model.named_parameters()}
        assert names == (parameters if has_loss or head == "Model" else set())


def test_the_table_of_heads_is_covered() -> None:
    """Catches: a class of the package that the tests of the parity check forget."""
    inside = {name for name, head in HEADS.items() if head.__module__.startswith("albert_torch.")}
    assert inside == set(OUR_HEADS)
    assert {name for name in inside if hasattr(transformers, HEADS[name].__name__)} == set(
        TRANSFORMERS_HEADS
    )


@pytest.mark.parametrize(
    ("problem_type", "num_labels"),
    [(None, 1), ("multi_label_classification", 3), ("regression", 2)],
)
def test_every_problem_type(tmp_path: Path, problem_type: str | None, num_labels: int) -> None:
    """Catches: labels of a kind that the loss of one of the libraries does not take."""
    config = {**SHARED, "problem_type": problem_type, "num_labels": num_labels}
    generate_checkpoint("SequenceClassification", config, tmp_path, seed=0)
    options = ParityOptions(
        heads=["SequenceClassification"], dtypes=["float64", "bfloat16"], backends=["sdpa"]
    )
    assert check(tmp_path, options).equal


def test_progress_names_each_head(checkpoints: dict[str, Path]) -> None:
    """Catches: minutes of work without a sign of life."""
    steps: list[str] = []
    check(checkpoints["MaskedLM"], ParityOptions(**FAST), progress=steps.append)
    assert steps == [
        f"[1/2] {checkpoints['MaskedLM']}: Model",
        f"[2/2] {checkpoints['MaskedLM']}: MaskedLM",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"dtypes": ["int8"]},
            "no dtype 'int8'; choose from float64, float32, bfloat16, float16",
        ),
        ({"backends": ["flash"]}, "no backend 'flash'; choose from eager, sdpa, unpad"),
        ({"heads": ["Pooler"]}, "no head 'Pooler'; choose from Model, "),
        ({"tolerances": {"float": 1.0}}, "no dtype 'float'; choose from"),
        ({"heads": []}, "heads is empty: name at least one"),
        ({"dtypes": []}, "dtypes is empty: name at least one"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    """Catches: a check of nothing that passes, and an error that does not name the option."""
    with pytest.raises(ValueError, match=message):
        ParityOptions(**options)


def test_a_checkpoint_that_does_not_fit_the_options(checkpoints: dict[str, Path]) -> None:
    """Catches: an error from deep inside the libraries, after the work has begun."""
    with pytest.raises(FileNotFoundError, match="is not a directory"):
        check(checkpoints["Model"] / "absent")
    with pytest.raises(
        ValueError, match="does not contain the weights of MaskedLM, only those of Model"
    ):
        check(checkpoints["Model"], ParityOptions(heads=["MaskedLM"]))


def test_files_that_transformers_cannot_load_are_not_a_difference(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """Catches: a reference with random weights that is reported as a fault of our model."""
    theirs = transformers.AlbertModel.from_pretrained(checkpoints["Model"])
    theirs.config.save_pretrained(tmp_path)
    state = {f"module.{key}": value for key, value in theirs.state_dict().items()}
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"transformers .* `albert-torch convert`"):
        check(tmp_path, ParityOptions(**FAST))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        check(tmp_path, ParityOptions(**FAST))


@pytest.mark.assets
def test_a_trained_model_without_pooler_is_equal(assets: Path) -> None:
    """Catches: tolerances that only hold for random weights, and a pooler that both sides drew."""
    options = ParityOptions(backends=["sdpa", "unpad"], dtypes=["float64", "float32"])
    report = check(assets / "assets" / "plbert", options)
    assert report.equal, format_table(report)
    assert report.notes[0] == "pooled: left out, because the checkpoint has no pooler"
    categories = {one.quantity.category for case in report.cases for one in case.measurements}
    assert "pooled" not in categories
