"""The loop: HF Trainer's losses, the same run after any interruption, and what it says when things go wrong."""

import json
import math
import os
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
    recipe,
    same_tensors,
    table,
)

import albert_torch
from albert_torch.finetuning import FinetuningConfig, StopReason, finetune, trainer
from albert_torch.finetuning.attempt import FinetuningState
from albert_torch.finetuning.finetune import load_datasets
from albert_torch.training.checkpointing import (
    Checkpoint,
    TrainingState,
    load_checkpoint,
    save_checkpoint,
)
from albert_torch.training.loop import Diverged
from albert_torch.training.metric_logger import read_metrics
from albert_torch.training.schedules import linear_decay_after_warmup

pytest.importorskip("accelerate")


@pytest.mark.assets
def test_the_losses_are_hf_trainers(assets: Path, tmp_path: Path) -> None:
    """Kills: decay on biases or LayerNorms, a schedule one update off, no clipping, a mean over the wrong rows."""
    import transformers
    from torch.utils.data import SequentialSampler

    tokenizer = albert_torch.tokenization.AlbertTokenizer.from_pretrained(
        assets / "assets" / "spiece.model"
    )
    config = albert_torch.AlbertConfig(
        **{**SHAPE, "vocab_size": len(tokenizer), "classifier_dropout_prob": 0.0}
    )
    albert_torch.AlbertForSequenceClassification(config).double().save_pretrained(
        tmp_path / "start"
    )
    tokenizer.save_pretrained(tmp_path / "start")
    lines = (assets / "data" / "SST-2" / "train.tsv").read_text().splitlines()
    (tmp_path / "train.tsv").write_text("\n".join(lines[: 1 + 50 * 8]))
    how = FinetuningConfig(
        task="sst2", model=str(tmp_path / "start"), data=str(tmp_path), max_length=64, batch_size=8,
        steps=50, warmup_steps=10, learning_rate=1e-3, batching="file", unpad=False, dtype="float64", log_steps=1,
        classifier_dropout=0.0, dropout=0.0, dev="none", max_grad_norm=0.1,
    )  # fmt: skip
    finetune(how, tmp_path / "run")
    rows = load_datasets(how).train.examples

    class Theirs(transformers.Trainer):
        seen: ClassVar[list[float]] = []

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset)

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(*args, **kwargs)
            self.seen.append(float((loss[0] if isinstance(loss, tuple) else loss).detach()))
            return loss

    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "theirs"), per_device_train_batch_size=8, max_steps=50, learning_rate=1e-3,
        warmup_steps=10, weight_decay=0.01, adam_epsilon=1e-6, max_grad_norm=0.1, use_cpu=True, report_to=[],
        save_strategy="no", disable_tqdm=True, optim="adamw_torch", lr_scheduler_type="linear",
    )  # fmt: skip
    model = transformers.AlbertForSequenceClassification.from_pretrained(
        tmp_path / "start", dtype=torch.float64
    )
    theirs = Theirs(
        model=model, args=arguments, train_dataset=rows,
        data_collator=lambda batch: tokenizer.pad(batch, return_tensors="pt"),
    )  # fmt: skip
    theirs.train()
    assert len(losses(tmp_path / "run")) == len(theirs.seen) == 50
    assert losses(tmp_path / "run") == pytest.approx(theirs.seen, rel=0, abs=1e-10)
    assert theirs.seen[-1] != pytest.approx(theirs.seen[0], abs=1e-4)


@pytest.mark.parametrize(
    "changes",
    [{"unpad": False}, {"gradient_accumulation_steps": 2}, {"gradient_checkpointing": True}],
)
def test_how_a_batch_is_computed_does_not_change_the_losses(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Kills: means of unequal parts averaged, padding that is seen, a part whose gradient is lost."""
    exact = {"dtype": "float64", "dropout": 0.0, "classifier_dropout": 0.0}
    finetune(recipe(tmp_path, **exact), tmp_path / "a")
    finetune(recipe(tmp_path, **exact, **changes), tmp_path / "b")
    assert losses(tmp_path / "a") == pytest.approx(losses(tmp_path / "b"), abs=1e-12)


@pytest.mark.parametrize(
    "changes", [{}, {"gradient_accumulation_steps": 2, "batching": "random"}, {"dtype": "bfloat16"}]
)
def test_a_resumed_run_is_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Kills: a moment, a dropout mask or a row order that is not continued; lines of metrics.jsonl written twice."""
    how = recipe(tmp_path, **changes)
    finetune(how, tmp_path / "whole")
    finetune_in_two_parts(how, tmp_path / "cut")
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
    """Kills: a checkpoint that can be half written, a resumed run that differs."""
    how = recipe(tmp_path, steps=30 * kills, eval_steps=2)
    (tmp_path / "recipe.toml").write_text(how.to_toml())
    finetune(how, tmp_path / "whole")
    command = [sys.executable, str(ROOT / "scripts" / "finetune.py"), str(tmp_path / "recipe.toml")]
    command += ["--out", str(tmp_path / "cut"), "--resume"]
    for _ in killed_runs(command, tmp_path / "cut", FinetuningState, kills):
        albert_torch.AlbertForSequenceClassification.from_pretrained(tmp_path / "cut")
    finetune(how, tmp_path / "cut", resume=True)
    assert same_tensors(last_tensors(tmp_path / "cut"), last_tensors(tmp_path / "whole"))
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_resuming_another_run_says_what_differs(tmp_path: Path) -> None:
    """Kills: a run continued with another batch size or other data, silently."""
    how = recipe(tmp_path)
    finetune(how, tmp_path / "run")
    with pytest.raises(ValueError, match="already holds a run"):
        finetune(how, tmp_path / "run")
    with pytest.raises(ValueError, match="batch_size was 8, is 4"):
        finetune(recipe(tmp_path, batch_size=4), tmp_path / "run", resume=True)
    table(tmp_path / "data", train=44, dev=20)
    with pytest.raises(ValueError, match="number of training examples was 43, is 44"):
        finetune(how, tmp_path / "run", resume=True)


def test_a_loss_that_is_no_number_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: NaN weights saved over good ones, a message that does not say where."""
    how = recipe(tmp_path, log_steps=4)
    compute_loss, losses = trainer.compute_loss, []

    def poisoned(*arguments: Any) -> torch.Tensor:
        losses.append(compute_loss(*arguments))
        return losses[-1] * math.nan if len(losses) == 6 else losses[-1]

    monkeypatch.setattr(trainer, "compute_loss", poisoned)
    with pytest.raises(
        Diverged,
        match=r"update 6: the loss is nan.*on the training examples \[\d+, .*last good checkpoint",
    ):
        finetune(how, tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run", FinetuningState)
    assert checkpoint is not None
    assert checkpoint.state.step == 4


def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a truncated last.pt, a leftover partial file, an error without a hint."""
    how = recipe(tmp_path)
    save = torch.save

    def full(values: Any, path: Any) -> None:
        if values["step"] > 4:
            Path(path).write_bytes(b"half")
            raise RuntimeError("PytorchStreamWriter failed writing file: No space left on device")
        save(values, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"No space left on device.*Free disk space"):
        finetune(how, tmp_path / "run")
    monkeypatch.undo()
    assert not list((tmp_path / "run").glob(".*partial"))
    finetune(how, tmp_path / "run", resume=True)
    finetune(how, tmp_path / "whole")
    assert same_tensors(last_tensors(tmp_path / "run"), last_tensors(tmp_path / "whole"))


def test_a_checkpoint_is_replaced_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: the old checkpoint overwritten in place, where a kill would leave half of the new one."""
    save_checkpoint(Checkpoint(TrainingState({}, {}, step=1), {}, {}), tmp_path)

    def killed(source: Path, target: Path) -> None:
        whole = torch.load(source, weights_only=True)
        assert (whole["step"], torch.load(target, weights_only=True)["step"]) == (2, 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(Checkpoint(TrainingState({}, {}, step=2), {}, {}), tmp_path)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_the_best_model_is_what_stays(tmp_path: Path) -> None:
    """Kills: the last model kept in its place, a result that names another update, a head without its labels."""
    how = recipe(tmp_path, steps=60, learning_rate=5e-3, eval_steps=10, test="dev.tsv")
    (result,) = finetune(how, tmp_path / "run")
    lines = {
        line["step"]: line["dev_accuracy"]
        for line in read_metrics(tmp_path / "run")
        if "dev_accuracy" in line
    }
    assert result.best == max(lines.values()) > 60
    assert result.best_step == min(step for step, value in lines.items() if value == result.best)
    model = albert_torch.AlbertForSequenceClassification.from_pretrained(tmp_path / "run")
    tokenizer = albert_torch.tokenization.AlbertTokenizer.from_pretrained(tmp_path / "run")
    material = load_datasets(how)
    right = 0
    for line, row in zip(
        (tmp_path / "data" / "dev.tsv").read_text().splitlines()[1:], material.dev.examples, strict=True
    ):
        logits = model(**tokenizer(line.split("\t")[0], return_tensors="pt")).logits
        right += model.config.id2label[int(logits.argmax())] == str(row["labels"])
    assert 100 * right / len(material.dev.examples) == result.best
    assert (tmp_path / "run" / "curves.png").read_bytes()[:4] == b"\x89PNG"
    lines = (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()
    said = [
        json.loads(line)["prediction"] == str(r["labels"])
        for line, r in zip(lines, material.dev.examples, strict=True)
    ]
    assert 100 * sum(said) / len(said) == result.best  # by the best model, not the last


def test_tensorboard_gets_the_numbers(tmp_path: Path) -> None:
    """Kills: files without the losses, two of them for one step after a resumed run."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    finetune(recipe(tmp_path, tensorboard=True), tmp_path / "run")
    board = events.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.value for event in board.Scalars("loss")] == pytest.approx(
        losses(tmp_path / "run")
    )
    assert len(board.Scalars("dev_accuracy")) == 3


def test_dropouts_are_those_of_the_recipe_or_the_checkpoint(tmp_path: Path) -> None:
    """Kills: a rate given to another place, one that a recipe without it overwrites."""
    rates = {"dropout": 0.1, "classifier_dropout": 0.2, "ffn_dropout_prob": 0.3}
    finetune(recipe(tmp_path, steps=2, **rates), tmp_path / "a")
    left = {"model": str(tmp_path / "a"), "dropout": None, "classifier_dropout": None}
    finetune(recipe(tmp_path, steps=2, **left), tmp_path / "b")
    for run in ("a", "b"):
        config = albert_torch.AlbertConfig.from_pretrained(tmp_path / run)
        assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.1, 0.1)
        assert (config.classifier_dropout_prob, config.ffn_dropout_prob) == (0.2, 0.3)


def test_early_stopping(tmp_path: Path) -> None:
    """Kills: a patience that is never reached, or reached at once."""
    how = recipe(tmp_path, learning_rate=0.0, steps=40, eval_steps=2, patience=3)
    (result,) = finetune(how, tmp_path / "run")
    assert (result.stop_reason, result.step, result.best_step) == (StopReason.EARLY_STOPPING, 8, 2)
    assert finetune(how, tmp_path / "run", resume=True)[0] == result


def test_a_collapsed_run_starts_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Kills: a collapse that is not said, a restart with the same seed or rate, one that a kill forgets."""
    how = recipe(tmp_path, learning_rate=4e-12, restarts_on_collapse=2)
    (result,) = finetune(how, tmp_path / "run")
    assert "the model has collapsed" in caplog.text
    assert "lower learning_rate" in caplog.text
    assert (result.attempt, result.stop_reason, result.collapsed) == (2, StopReason.FINISHED, True)
    checkpoint = load_checkpoint(tmp_path / "run", FinetuningState)
    assert checkpoint is not None
    options = checkpoint.state.config
    assert (options["seed"], options["learning_rate"]) == (how.seed + 2000, 1e-12)
    assert [line["attempt"] for line in read_metrics(tmp_path / "run") if "dev_loss" in line] == [
        0,
        0,
        1,
        1,
        2,
        2,
        2,
    ]
    assert finetune(how, tmp_path / "run", resume=True)[0].attempt == 2


def test_a_healthy_run_is_not_called_collapsed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kills: false alarms during warmup or while the loss falls."""
    (result,) = finetune(
        recipe(tmp_path, learning_rate=5e-3, steps=60, eval_steps=20), tmp_path / "run"
    )
    assert not result.collapsed
    assert "collapsed" not in caplog.text


def test_seeds(tmp_path: Path) -> None:
    """Kills: the same seed every time, a median of something else."""
    results = finetune(recipe(tmp_path, seeds=3, steps=8), tmp_path / "run")
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert found["values"] == [result.best for result in results]
    assert found["median"] == sorted(found["values"])[1]
    assert len({tuple(losses(tmp_path / "run" / f"seed-{seed}")) for seed in (1, 2, 3)}) == 3


@pytest.mark.parametrize(("step", "factor"), [(0, 0.0), (2, 0.5), (4, 1.0), (7, 0.5), (9, 1 / 6)])
def test_the_rate_rises_and_falls(step: int, factor: float) -> None:
    """Kills: decay from the first update on, a warmup that starts at its end."""
    assert linear_decay_after_warmup(step, 4, 10) == pytest.approx(factor)
