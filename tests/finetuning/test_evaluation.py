"""Evaluation in a fine-tuning run: the dev loss, and the model that predicts."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import WORDS, small_config

from albert_torch import AlbertForMaskedLM, AlbertForSequenceClassification
from albert_torch.finetuning import Split, finetune
from albert_torch.finetuning.finetune import load_datasets
from albert_torch.finetuning.tasks.classification import SingleLabelClassification
from albert_torch.training.data import collate
from albert_torch.training.metric_logger import read_metrics

pytest.importorskip("accelerate")


def test_the_dev_loss_is_a_mean_over_targets(tmp_path: Path) -> None:
    """Kills: a mean over examples or batches that have different numbers of targets."""
    texts = [" ".join(WORDS[i % 30 : i % 30 + 1 + i % 9]) for i in range(60)]
    (tmp_path / "text.txt").write_text("\n".join(texts))
    text = str(tmp_path / "text.txt")
    config = small_config(
        tmp_path, task="mlm", data="", train=text, dev=text, max_length=12, batch_size=3, steps=4
    )
    finetune(config, tmp_path / "run")
    (reported,) = [
        line["dev_loss"] for line in read_metrics(tmp_path / "run") if "dev_loss" in line
    ]
    dev = load_datasets(config).dev
    assert dev is not None
    model = AlbertForMaskedLM.from_pretrained(tmp_path / "run")
    with torch.no_grad():
        loss = model(**collate(dev.examples, 0)).loss
    assert reported == pytest.approx(loss.item(), abs=1e-6)


class Declining(SingleLabelClassification):
    """Classification whose first evaluation has the best score; predicts logits."""

    num_evaluations = 0

    def score(self, split: Split, outputs: list[Any]) -> dict[str, float]:
        self.num_evaluations += 1
        return {"accuracy": 100.0 - self.num_evaluations}

    def predictions(self, split: Split, outputs: list[Any]) -> list[dict[str, Any]]:
        return [{"logits": logits.tolist()} for logits in outputs]


def test_the_best_model_predicts(tmp_path: Path) -> None:
    """Kills: predictions of the last model."""
    config = small_config(tmp_path, test="dev.tsv", learning_rate=0.01)
    (result,) = finetune(config, tmp_path / "run", task=Declining)
    assert (result.best, result.best_step) == (99.0, 4)
    lines = (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()
    predicted = torch.tensor([json.loads(line)["logits"] for line in lines])
    test = load_datasets(config).test
    assert test is not None
    inputs = collate([{"input_ids": e["input_ids"]} for e in test.examples], 0)
    best = AlbertForSequenceClassification.from_pretrained(tmp_path / "run")
    last = AlbertForSequenceClassification.from_pretrained(tmp_path / "run")
    last.load_state_dict(torch.load(tmp_path / "run" / "last.pt", weights_only=True)["model"])
    with torch.no_grad():
        assert torch.allclose(predicted, best(**inputs).logits, rtol=0, atol=1e-5)
        assert not torch.allclose(predicted, last(**inputs).logits, rtol=0, atol=1e-2)
