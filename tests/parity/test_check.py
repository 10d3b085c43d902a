"""Parity finds every kind of planted difference and names where it begins; equal models pass."""

import copy
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from helpers.constants import SHARED, TINY
from torch import nn

from albert_torch import AlbertForQuestionAnswering, AlbertModel, CheckpointError, parity
from albert_torch.hub import Source
from albert_torch.model import ACTIVATIONS
from albert_torch.parity import compare, inputs, observe, report
from albert_torch.parity.compare import (
    TOLERANCES,
    Measurement,
    Observed,
    Quantity,
    at_real_tokens,
    difference,
)
from albert_torch.tokenization.tokenizer import AlbertTokenizer

FAST: dict[str, Any] = {"dtypes": ["float64"], "backends": ["sdpa"]}
GROUPED = {**TINY, "max_position_embeddings": 32}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A generated checkpoint for each head, with groups and inner layers."""
    made = {}
    for head in inputs.HEADS:
        made[head] = tmp_path_factory.mktemp(head)
        inputs.generate(head, GROUPED, made[head], seed=0)
    return made


def loaded(checkpoint: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    model = AlbertModel.from_pretrained(checkpoint).double()
    return model, inputs.batches("Model", inputs.random_rows(model.config, 0), model.config, 0)[0]


def first_wrong(ours: Observed, theirs: Observed) -> Measurement:
    return next(one for one in compare(ours, theirs, tolerance=1e-10) if not one.ok)


@pytest.mark.parametrize("head", inputs.HEADS)
def test_every_head_is_equal_and_every_place_is_measured(
    checkpoints: dict[str, Path], head: str
) -> None:
    """Kills: a quantity that is never compared, a backend that is skipped, a tolerance too tight for rounding."""
    found = parity.check(Source(checkpoints[head]), heads=[head])
    assert found.equal, report.table(found)
    weights, *cases = found.cases
    state = inputs.HEADS[head].from_pretrained(checkpoints[head]).state_dict()
    assert [one.place.name for one in weights.measurements] == list(state)
    assert [(case.dtype, case.backend) for case in cases] == [
        (dtype, backend)
        for dtype in ("float64", "float32", "bfloat16")
        for backend in ("eager", "sdpa", "unpad")
    ]
    for case in cases:
        places = [one.place for one in case.measurements]
        assert [
            place.layer for place in places if place.layer is not None and place.what == "hidden"
        ] == list(range(7))
        runs = TINY["num_hidden_layers"] * TINY["inner_group_num"] if case.backend == "eager" else 0
        assert sum(place.what == "attn" for place in places) == runs
        spans = head == "QuestionAnswering" and case.backend == "unpad"
        assert any(place.what == "loss" for place in places) == (head != "Model" and not spans)
        assert any(place.what == "logits" for place in places) == (head != "Model")
        names = {place.name for place in places if place.what == "grad"}
        model = inputs.HEADS[head].from_pretrained(checkpoints[head])
        assert names == (set() if spans else {name for name, _ in model.named_parameters()})
        assert any(place.what == "pooled" for place in places) == (
            model.base_model.pooler is not None
        )


@contextmanager
def planted(model: nn.Module, fault: str) -> Iterator[None]:
    """A fault in `model`: each is one that a real implementation has had."""
    encoder: Any = model.encoder
    last = encoder.albert_layer_groups[-1].albert_layers[-1]
    with torch.no_grad():
        if fault == "weight":
            last.ffn_output.weight[3, 5] += 1e-6
        elif fault == "embedding":
            model.embeddings.position_embeddings.weight[0, 0] += (
                1e-6  # all of a row alike, LayerNorm would take out
            )
        elif fault == "pooler":
            model.pooler.bias[0] += 1e-6
    if fault == "eps":
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-5
    elif fault == "activation":
        last.activation = ACTIVATIONS["gelu"]
    elif fault == "group":
        encoder.albert_layer_groups = encoder.albert_layer_groups[:2]
    elif fault == "scale":
        last.attention.query.register_forward_hook(lambda module, args, output: output * (1 + 1e-7))
    yield


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        ("weight", "hidden 5/6"),
        ("embedding", "hidden 0/6"),
        ("eps", "hidden 0/6"),
        ("activation", "hidden 5/6"),
        ("group", "hidden 3/6"),
        ("scale", "hidden 5/6"),
        ("pooler", "pooler_output"),
    ],
)
def test_a_planted_fault_is_found_where_it_begins(
    checkpoints: dict[str, Path], fault: str, first: str
) -> None:
    """Kills: a comparison of means, a layer named one off, a fault that float64 should show and does not."""
    model, batch = loaded(checkpoints["Model"])
    theirs = observe(copy.deepcopy(model), batch)
    with planted(model, fault):
        assert first_wrong(observe(model, batch), theirs).place.name == first


def test_a_wrong_backward_is_found(checkpoints: dict[str, Path]) -> None:
    """Kills: gradients that are not compared: the forward pass is right here."""
    model, batch = loaded(checkpoints["Model"])
    theirs = observe(copy.deepcopy(model), batch)
    model.encoder.embedding_hidden_mapping_in.weight.register_hook(lambda grad: grad * (1 + 1e-7))
    wrong = [
        one.place for one in compare(observe(model, batch), theirs, tolerance=1e-10) if not one.ok
    ]
    assert wrong == [Quantity("grad", "encoder.embedding_hidden_mapping_in.weight")]


def test_narrow_dtypes_are_held_to_the_references_own_error() -> None:
    """Kills: a bound that lets a model pass that is far worse than the reference, or that fails one as good."""
    place = Quantity("hidden", "hidden 1/1", 1)
    truth = {place: torch.tensor([1.0, 2.0], dtype=torch.float64)}
    theirs = {place: torch.tensor([1.0, 2.1], dtype=torch.bfloat16)}
    as_good = {place: torch.tensor([1.0, 1.9], dtype=torch.bfloat16)}
    worse = {place: torch.tensor([1.0, 1.7], dtype=torch.bfloat16)}
    bound = TOLERANCES[torch.bfloat16]
    (good,) = compare(as_good, theirs, tolerance=bound, truth=truth)
    (bad,) = compare(worse, theirs, tolerance=bound, truth=truth)
    assert good.ok
    assert not bad.ok
    assert good.theirs_to_float64 == pytest.approx(0.1, abs=0.01)
    assert not compare(as_good, theirs, tolerance=bound)[0].ok


@pytest.mark.parametrize("fault", ["nan", "inf", "shape", "absent", "more"])
def test_what_cannot_be_subtracted_differs(fault: str) -> None:
    """Kills: NaN that compares as small, two infinities that cancel, a tensor that only one side has."""
    place = Quantity("hidden", "hidden 0/1", 0)
    ours, theirs = {place: torch.ones(2, 3)}, {place: torch.ones(2, 3)}
    if fault in ("nan", "inf"):
        ours[place][1, 1] = theirs[place][1, 1] = float(fault)
    elif fault == "shape":
        ours[place] = ours[place][:1]
    elif fault == "absent":
        ours = {}
    else:
        ours[Quantity("attn", "attn 1/1", 1)] = torch.ones(1)
    measured = compare(ours, theirs, tolerance=1.0)
    assert [one.ok for one in measured].count(False) == 1
    assert math.isinf(max(one.excess for one in measured))
    assert difference(torch.ones(1), torch.ones(1)) == 0


def test_weights_are_compared_by_key_order_and_value(checkpoints: dict[str, Path]) -> None:
    """Kills: keys compared as sets, values compared within a tolerance."""
    model, _ = loaded(checkpoints["Model"])
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.pooler.bias[0] += 1e-12
    wrong = [one.place.name for one in parity.compare_weights(model, other) if not one.ok]
    assert wrong == ["pooler.bias"]
    pooler = other.pooler
    del other.pooler
    wrong = [one.place.name for one in parity.compare_weights(model, other) if not one.ok]
    assert wrong == [
        "pooler.weight where transformers has nothing",
        "pooler.bias where transformers has nothing",
    ]
    other.embeddings.pooler = pooler
    assert not all(one.ok for one in parity.compare_weights(model, other))


def test_question_answering_without_padding_leaves_out_its_loss() -> None:
    """Kills: a comparison at padding, where packed and padded rows must differ, and one that leaves out more."""
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    observed = {Quantity("hidden", "hidden 0/1", 0): torch.ones(2, 3, 4), Quantity("loss", "loss"): torch.ones(()),
                Quantity("grad", "w"): torch.ones(2, 3), Quantity("logits", "logits"): torch.ones(2, 2)}  # fmt: skip
    kept = at_real_tokens(observed, {"attention_mask": mask})
    assert [tuple(x.shape) for x in kept.values()] == [(4, 4), (), (2, 3), (2, 2)]
    spans = at_real_tokens(observed, {"attention_mask": mask, "start_positions": mask})
    assert [place.what for place in spans] == ["hidden", "logits"]


@pytest.mark.parametrize(
    ("head", "problem", "num_labels", "shape"),
    [
        ("SequenceClassification", None, 1, (4,)),
        ("SequenceClassification", "multi_label_classification", 3, (4, 3)),
        ("SequenceClassification", "regression", 2, (4, 2)),
        ("MultipleChoice", None, 2, (2,)),
    ],
)
def test_labels_of_every_kind_of_problem(
    tmp_path: Path, head: str, problem: str | None, num_labels: int, shape: tuple[int, ...]
) -> None:
    """Kills: labels of a kind that the loss of one side does not take."""
    inputs.generate(
        head, {**SHARED, "problem_type": problem, "num_labels": num_labels}, tmp_path, seed=0
    )
    config = AlbertModel.from_pretrained(tmp_path).config
    (batch,) = inputs.batches(head, inputs.random_rows(config, 0), config, 0)
    assert batch["labels"].shape == shape
    assert parity.check(
        Source(tmp_path), heads=[head], dtypes=["float64", "bfloat16"], backends=["sdpa"]
    ).equal


def word_tokenizer(directory: Path, vocabulary: int) -> None:
    """A `tokenizer.json` of single words, for both libraries."""
    words = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "fine", "ships", "year", "it", "the"]
    model = tokenizers.models.WordLevel(
        dict(zip(words, range(vocabulary), strict=False)), unk_token="<unk>"
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(directory / "tokenizer.json"))
    special = {
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
    }
    settings = {**special, "mask_token": "[MASK]", "tokenizer_class": "PreTrainedTokenizerFast"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))


def test_texts_go_through_both_tokenizers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: ids compared with themselves, a wrong id that the models never see, a pair read as one text."""
    inputs.generate("Model", SHARED, tmp_path, seed=0)
    word_tokenizer(tmp_path, SHARED["vocab_size"])
    texts = tmp_path / "texts"
    texts.write_text(
        "Fine ships\tit\n\nthe\u2028year\nthe ships the ships\nit\nfine\n", encoding="utf-8"
    )
    found = parity.check(Source(tmp_path), text=texts, **FAST)
    assert found.equal, report.table(found)
    assert [one.scale for one in found.cases[0].measurements] == [6, 4, 6, 3, 3]
    assert found.notes == ["inputs: 5 texts, 22 tokens"]
    assert parity.check(Source(tmp_path), **FAST).equal
    original = AlbertTokenizer.__call__

    def wrong(self: Any, first: str, *args: Any, **options: Any) -> Any:
        row = original(self, first, *args, **options)
        if first == "the\u2028year":
            row["input_ids"][1] = 5
        return row

    monkeypatch.setattr(AlbertTokenizer, "__call__", wrong)
    found = parity.check(Source(tmp_path), text=texts, **FAST)
    assert not found.equal
    assert "  first text 2: 1.0e+00, allowed 0" in report.details(found)


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        ("absent", {}, FileNotFoundError, "is not a directory"),
        ("Model", {"heads": ["MaskedLM"]}, ValueError, "does not fill MaskedLM; it fills Model"),
        (
            "Model",
            {"text": __file__},
            ValueError,
            "has no tokenizer to read .*test_check.py with: leave out --text",
        ),
        (
            "Model",
            {"dtypes": ["int8"]},
            ValueError,
            "no dtype 'int8'; there are float64, float32, bfloat16, float16",
        ),
        (
            "Model",
            {"backends": ["flash"]},
            ValueError,
            "no backend 'flash'; there are eager, sdpa, unpad",
        ),
        (
            "Model",
            {"heads": ["Pooler"]},
            ValueError,
            "no head 'Pooler'; there are Model, PreTraining",
        ),
        ("Model", {"tolerances": {"float": 1.0}}, ValueError, "no dtype 'float'; there are"),
        ("Model", {"heads": []}, ValueError, "no head is named"),
    ],
)
def test_what_cannot_be_checked_says_why(
    checkpoints: dict[str, Path],
    make: str,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    """Kills: an error from deep inside that does not name the option, a check of nothing that passes."""
    with pytest.raises(error, match=message):
        parity.check(Source(checkpoints.get(make, checkpoints["Model"] / make)), **options)


def test_files_that_transformers_cannot_load_are_no_difference(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """Kills: a reference with weights drawn at random, reported as a difference of ours."""
    theirs = transformers.AlbertModel.from_pretrained(checkpoints["Model"])
    theirs.config.save_pretrained(tmp_path)
    torch.save(
        {f"module.{key}": value for key, value in theirs.state_dict().items()},
        tmp_path / "pytorch_model.bin",
    )
    with pytest.raises(ValueError, match=r"transformers .* `albert-torch convert`"):
        parity.check(Source(tmp_path), **FAST)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        parity.check(Source(tmp_path), **FAST)


def test_the_report_in_its_three_forms(checkpoints: dict[str, Path]) -> None:
    """Kills: a table too wide, JSON that lacks a layer or is no JSON, a page that loads something from elsewhere."""
    head = "QuestionAnswering"
    found = parity.check(Source(checkpoints[head]), dtypes=["float64", "float32", "bfloat16"])
    table = report.table(found)
    assert max(map(len, table.splitlines()[1:])) <= 100
    assert re.search(r"^EQUAL: [\d,]+ measurements within tolerance", table.splitlines()[-1])
    assert re.search(
        r"^bfloat16, hidden states against float64: here \S+e-0\d, transformers \S+e-0\d$",
        table,
        re.M,
    )
    content = json.loads(report.to_json(found, "the command"))
    assert content["equal"] is True
    assert content["environment"]["transformers"] == transformers.__version__
    rows = content["measurements"]
    for dtype in ("float64", "float32", "bfloat16"):
        layers = [row["layer"] for row in rows if (row["dtype"], row["backend"], row["what"], row["head"])
                  == (dtype, "unpad", "hidden", head)]  # fmt: skip
        assert layers == [*range(7), None], "each layer, then the last hidden state by its own name"
    page = report.to_html(found, "albert-torch parity <dir>")
    assert not re.search(r"https?:|//|@import|<script|<link|src=", page)
    assert page.count("<svg") == 1
    assert "&lt;dir&gt;" in page
    assert page.count("<tr>") == 1 + 2 * 9
    broken = found.cases[-1].measurements[0]
    found.cases[-1].measurements[0] = Measurement(broken.place, math.inf, 1.0, 1e-10)
    assert report.table(found).splitlines()[-1].startswith("DIFFERENT: 1 of ")
    assert "DIFFERS" in report.table(found)
    assert json.loads(report.to_json(found, ""))["measurements"]
    assert "<tr class=differs>" in report.to_html(found, "")


@pytest.mark.assets
def test_a_trained_model_without_pooler_is_equal(assets: Path) -> None:
    """Kills: tolerances that only hold for random weights, a pooler compared that both sides drew at random."""
    found = parity.check(
        Source(assets / "assets" / "plbert"),
        backends=["sdpa", "unpad"],
        dtypes=["float64", "float32"],
    )
    assert found.equal, report.table(found)
    assert found.notes[0] == "pooled: left out, the checkpoint has no pooler"
    assert not any(one.place.what == "pooled" for case in found.cases for one in case.measurements)


def test_the_tests_of_faults_have_a_head_for_each_class() -> None:
    """Kills: a class of transformers' names that parity forgets."""
    assert AlbertForQuestionAnswering in inputs.HEADS.values()
    assert len(inputs.HEADS) == 7
