"""Fine-tuning runs: HF Trainer's losses, the same run after an interruption, the best model."""

import json
import math
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from helpers.constants import ROOT
from helpers.small_runs import (
    SHAPE,
    finetune_in_two_parts,
    killed_runs,
    last_tensors,
    losses,
    same_tensors,
    small_config,
    table,
)

from albert_torch import AlbertConfig, AlbertForSequenceClassification, AlbertTokenizer
from albert_torch.finetuning import Diverged, FinetuningConfig, StopReason, finetune, run_attempt
from albert_torch.finetuning.attempt import FinetuningState
from albert_torch.finetuning.finetune import load_datasets
from albert_torch.training.checkpointing import load_checkpoint
from albert_torch.training.metric_logger import read_metrics

pytest.importorskip("accelerate")


# ---- losses ----


@pytest.mark.assets
@pytest.mark.transformers5
def test_the_losses_are_those_of_hf_trainer(assets: Path, tmp_path: Path) -> None:
    """Kills: decay of biases or LayerNorms, a schedule that is one update off, no clipping, a mean
    over the wrong examples.
    """
    import transformers
    from torch.utils.data import SequentialSampler

    tokenizer = AlbertTokenizer.from_pretrained(assets / "assets" / "spiece.model")
    shape = {**SHAPE, "vocab_size": len(tokenizer), "classifier_dropout_prob": 0.0}
    start = tmp_path / "start"
    AlbertForSequenceClassification(AlbertConfig(**shape)).double().save_pretrained(start)
    tokenizer.save_pretrained(start)
    lines = (assets / "data" / "SST-2" / "train.tsv").read_text().splitlines()
    (tmp_path / "train.tsv").write_text("\n".join(lines[: 1 + 50 * 8]))
    config = FinetuningConfig(
        task="sst2",
        model=str(start),
        data=str(tmp_path),
        dev="none",
        max_length=64,
        batch_size=8,
        batching="file",
        steps=50,
        warmup_steps=10,
        learning_rate=1e-3,
        max_grad_norm=0.1,
        classifier_dropout=0.0,
        dropout=0.0,
        unpad=False,
        dtype="float64",
        log_steps=1,
    )
    finetune(config, tmp_path / "run")

    class TheirTrainer(transformers.Trainer):
        losses: ClassVar[list[float]] = []

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset)

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(*args, **kwargs)
            self.losses.append(float((loss[0] if isinstance(loss, tuple) else loss).detach()))
            return loss

    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "theirs"),
        per_device_train_batch_size=8,
        max_steps=50,
        learning_rate=1e-3,
        warmup_steps=10,
        weight_decay=0.01,
        adam_epsilon=1e-6,
        max_grad_norm=0.1,
        optim="adamw_torch",
        lr_scheduler_type="linear",
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    model = transformers.AlbertForSequenceClassification.from_pretrained(start, dtype=torch.float64)
    theirs = TheirTrainer(
        model=model,
        args=arguments,
        train_dataset=load_datasets(config).train.examples,
        data_collator=lambda batch: tokenizer.pad(batch, return_tensors="pt"),
    )
    theirs.train()
    assert len(losses(tmp_path / "run")) == len(theirs.losses) == 50
    assert losses(tmp_path / "run") == pytest.approx(theirs.losses, rel=0, abs=1e-10)
    assert theirs.losses[-1] != pytest.approx(theirs.losses[0], abs=1e-4)


@pytest.mark.parametrize(
    "changes",
    [{"unpad": False}, {"gradient_accumulation_steps": 2}, {"gradient_checkpointing": True}],
)
def test_how_a_batch_is_computed_does_not_change_the_losses(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Kills: means of unequal micro-batches that are averaged, padding that is attended to, a
    micro-batch whose gradient is lost.
    """
    exact = {"dtype": "float64", "dropout": 0.0, "classifier_dropout": 0.0}
    finetune(small_config(tmp_path, **exact), tmp_path / "a")
    finetune(small_config(tmp_path, **exact, **changes), tmp_path / "b")
    assert losses(tmp_path / "a") == pytest.approx(losses(tmp_path / "b"), abs=1e-12)


# ---- interruptions ----


@pytest.mark.parametrize(
    "changes", [{}, {"gradient_accumulation_steps": 2, "batching": "random"}, {"dtype": "bfloat16"}]
)
def test_an_interrupted_run_continues_bit_for_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Kills: moments, dropout or an order of examples that are not continued; lines of
    metrics.jsonl that are written twice.
    """
    config = small_config(tmp_path, **changes)
    finetune(config, tmp_path / "whole")
    finetune_in_two_parts(config, tmp_path / "cut")
    assert same_tensors(last_tensors(tmp_path / "cut"), last_tensors(tmp_path / "whole"))
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    names = ("attempt", "step", "loss", "dev_loss", "dev_accuracy")
    cut, whole = (
        [[line.get(name) for name in names] for line in read_metrics(tmp_path / run)]
        for run in ("cut", "whole")
    )
    assert cut == whole


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_9_at_any_moment(tmp_path: Path, kills: int) -> None:
    """Kills: a checkpoint or a model that can be half written, a resumed run that differs."""
    config = small_config(tmp_path, steps=30 * kills, eval_steps=2)
    (tmp_path / "recipe.toml").write_text(config.to_toml())
    finetune(config, tmp_path / "whole")
    command = [sys.executable, str(ROOT / "scripts" / "finetune.py"), str(tmp_path / "recipe.toml")]
    command += ["--out", str(tmp_path / "cut"), "--resume"]
    for _ in killed_runs(command, tmp_path / "cut", FinetuningState, kills):
        AlbertForSequenceClassification.from_pretrained(tmp_path / "cut")
    finetune(config, tmp_path / "cut", resume=True)
    assert same_tensors(last_tensors(tmp_path / "cut"), last_tensors(tmp_path / "whole"))
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_another_run_is_not_resumed(tmp_path: Path) -> None:
    """Kills: a run that is continued with another batch size or other data without an error."""
    config = small_config(tmp_path)
    finetune(config, tmp_path / "run")
    with pytest.raises(ValueError, match="already holds a run"):
        finetune(config, tmp_path / "run")
    with pytest.raises(ValueError, match="batch_size was 8, is 4"):
        finetune(small_config(tmp_path, batch_size=4), tmp_path / "run", resume=True)
    table(tmp_path / "data", train=44, dev=20)
    with pytest.raises(ValueError, match="number of training examples was 43, is 44"):
        finetune(config, tmp_path / "run", resume=True)


def test_a_loss_that_is_nan_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: NaN weights that replace good ones, a message that does not say where it happened."""
    compute_loss, shares = run_attempt.compute_loss, []

    def nan_in_update_6(*arguments: Any) -> torch.Tensor:
        shares.append(compute_loss(*arguments))
        return shares[-1] * math.nan if len(shares) == 6 else shares[-1]

    monkeypatch.setattr(run_attempt, "compute_loss", nan_in_update_6)
    message = r"update 6: the loss is nan.* on the training examples \[\d+, .*last good checkpoint"
    with pytest.raises(Diverged, match=message):
        finetune(small_config(tmp_path, log_steps=4), tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run", FinetuningState)
    assert checkpoint is not None
    assert checkpoint.state.step == 4


def test_a_run_continues_after_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a truncated last.pt, a partial file that stays, an error that does not say what
    to do.
    """
    config = small_config(tmp_path)
    save = torch.save

    def full_after_step_4(content: Any, path: Any) -> None:
        if content["step"] > 4:
            Path(path).write_bytes(b"half")
            raise RuntimeError("PytorchStreamWriter failed writing file: No space left on device")
        save(content, path)

    monkeypatch.setattr(torch, "save", full_after_step_4)
    with pytest.raises(OSError, match=r"No space left on device.*Free disk space"):
        finetune(config, tmp_path / "run")
    monkeypatch.undo()
    assert not list((tmp_path / "run").glob(".*partial"))
    finetune(config, tmp_path / "run", resume=True)
    finetune(config, tmp_path / "whole")
    assert same_tensors(last_tensors(tmp_path / "run"), last_tensors(tmp_path / "whole"))


# ---- results ----


def test_the_best_model_is_kept(tmp_path: Path) -> None:
    """Kills: the last model in its place, a result that names another step, a head without its
    labels, predictions of the last model.
    """
    config = small_config(tmp_path, steps=60, learning_rate=5e-3, eval_steps=10, test="dev.tsv")
    (result,) = finetune(config, tmp_path / "run")
    accuracies = {
        line["step"]: line["dev_accuracy"]
        for line in read_metrics(tmp_path / "run")
        if "dev_accuracy" in line
    }
    assert result.best == max(accuracies.values()) > 60
    assert result.best_step == min(s for s, value in accuracies.items() if value == result.best)
    model = AlbertForSequenceClassification.from_pretrained(tmp_path / "run")
    tokenizer = AlbertTokenizer.from_pretrained(tmp_path / "run")
    texts, labels = zip(
        *(
            line.split("\t")
            for line in (tmp_path / "data" / "dev.tsv").read_text().splitlines()[1:]
        ),
        strict=True,
    )
    classes = [int(model(**tokenizer(text, return_tensors="pt")).logits.argmax()) for text in texts]
    names = [model.config.id2label[number] for number in classes]
    assert 100 * sum(map(str.__eq__, names, labels)) / len(labels) == result.best
    lines = (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()
    predictions = [json.loads(line)["prediction"] for line in lines]
    assert 100 * sum(map(str.__eq__, predictions, labels)) / len(labels) == result.best
    stored = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (stored["stop_reason"], stored["best"]) == ("finished", result.best)


def test_without_a_dev_split_the_last_model_is_kept(tmp_path: Path) -> None:
    """Kills: a run that leaves no model, or that of an earlier step."""
    (result,) = finetune(small_config(tmp_path, dev="none"), tmp_path / "run")
    assert (result.best, result.scores) == (None, {})
    model = AlbertForSequenceClassification.from_pretrained(tmp_path / "run")
    assert same_tensors(dict(model.state_dict()), torch.load(tmp_path / "run" / "last.pt")["model"])


def test_early_stopping(tmp_path: Path) -> None:
    """Kills: a patience that is never reached, or at once; a stopped run that goes on when
    resumed.
    """
    config = small_config(tmp_path, learning_rate=0.0, steps=40, eval_steps=2, patience=3)
    (result,) = finetune(config, tmp_path / "run")
    assert (result.stop_reason, result.step, result.best_step) == (StopReason.EARLY_STOPPING, 8, 2)
    assert finetune(config, tmp_path / "run", resume=True)[0] == result


def test_an_unknown_metric_is_named(tmp_path: Path) -> None:
    """Kills: a KeyError after the first epoch."""
    with pytest.raises(ValueError, match="metric='f2' is not known; the task has accuracy"):
        finetune(small_config(tmp_path, metric="f2"), tmp_path / "run")


def test_each_seed_is_another_run(tmp_path: Path) -> None:
    """Kills: the same order, dropout or initial weights for every seed, a median of other
    values.
    """
    results = finetune(
        small_config(tmp_path, seeds=3, steps=8, learning_rate=0.0), tmp_path / "run"
    )
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["values"] == [result.best for result in results]
    assert summary["median"] == sorted(summary["values"])[1]
    runs = [tmp_path / "run" / f"seed-{seed}" for seed in (1, 2, 3)]
    assert len({tuple(losses(run)) for run in runs}) == 3
    heads = [AlbertForSequenceClassification.from_pretrained(run).classifier.weight for run in runs]
    assert not torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[1], heads[2])


def test_too_few_examples(tmp_path: Path) -> None:
    """Kills: an update without a gradient, a division by zero."""
    config = small_config(tmp_path, gradient_accumulation_steps=4)
    table(tmp_path / "data", train=3, dev=2)
    with pytest.raises(ValueError, match="3 training examples are too few for 1 processes with"):
        finetune(config, tmp_path / "run")
