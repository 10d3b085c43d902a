"""Pretraining runs: their metrics, interruptions, two processes, and what is refused."""

import json
import math
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.constants import ROOT
from helpers.small_runs import (
    SHAPE,
    WORDS,
    killed_runs,
    last_tensors,
    losses,
    run_two_processes,
    same_tensors,
    stop_after,
    vocabulary,
    write_recipes,
)
from torch.nn.functional import cross_entropy

from albert_torch import AlbertForPreTraining
from albert_torch.pretraining import PretrainingConfig, pretrain, trainer
from albert_torch.pretraining.pretrain import load_datasets, without_dev
from albert_torch.pretraining.trainer import METRIC_NAMES, PretrainingState, build_objective
from albert_torch.training.checkpointing import load_checkpoint
from albert_torch.training.data import collate
from albert_torch.training.loop import Diverged
from albert_torch.training.metric_logger import read_metrics
from albert_torch.training.model import load_tokenizer

pytest.importorskip("accelerate")

CONFIGS = ROOT / "configs" / "pretrain"


def texts(folder: Path) -> Path:
    """Three files of documents with one sentence per line.

    The words of a sentence count up, and so do the first words of the sentences of a document.
    """
    folder.mkdir(exist_ok=True)
    rng = random.Random(0)
    for name in ("first.txt", "second.txt", "held.txt"):
        documents = []
        for _ in range(12):
            start = rng.randrange(30)
            lengths = [rng.randint(3, 8) for _ in range(rng.randint(2, 9))]
            documents.append(
                "\n".join(
                    " ".join(WORDS[(start + i + j) % 30] for j in range(n))
                    for i, n in enumerate(lengths)
                )
            )
        (folder / name).write_text("\n\n".join(documents) + "\n")
    return folder


def small_config(folder: Path, **changes: Any) -> PretrainingConfig:
    """A config for twelve updates of eight examples, with a checkpoint every four."""
    corpus = texts(folder / "texts")
    values = {
        "corpus": [str(corpus)],
        "dev": [str(corpus / "held.txt")],
        "tokenizer": str(vocabulary(folder / "vocabulary")),
        "model_config": {**SHAPE, "classifier_dropout_prob": 0.1},
        "max_length": 40,
        "batch_size": 8,
        "steps": 12,
        "warmup_steps": 2,
        "learning_rate": 0.01,
        "eval_steps": 4,
        "log_steps": 1,
        "dropout": 0.1,
    }
    return PretrainingConfig.from_dict({**values, **changes})


def test_a_run_learns_and_its_metrics_are_those_of_transformers(tmp_path: Path) -> None:
    """Kills: means over the wrong tokens or examples, an exported model that is not the trained
    one, dev texts in the corpus.
    """
    config = small_config(
        tmp_path,
        optimizer="adamw",
        learning_rate=5e-3,
        steps=300,
        warmup_steps=30,
        eval_steps=100,
        dropout=0.0,
    )
    result = pretrain(config, tmp_path / "run")
    training_losses = losses(tmp_path / "run")
    assert len(training_losses) == 300
    assert sum(training_losses[-10:]) < 0.8 * sum(training_losses[:10])
    assert result.scores["dev_mlm_accuracy"] > 0.1  # of 30 words; guessing would reach 0.03
    assert json.loads((tmp_path / "run" / "result.json").read_text())["scores"] == result.scores
    assert (tmp_path / "run" / "curves.png").exists()

    model = transformers.AlbertForPreTraining.from_pretrained(
        tmp_path / "run", dtype=torch.float64
    ).eval()
    dev = load_datasets(config, load_tokenizer(config), tmp_path / "run" / "corpus").dev
    sums = dict.fromkeys(METRIC_NAMES, 0.0)
    num_masked = 0
    with torch.no_grad():
        for example in dev:
            batch = collate([example], 0)
            output = model(**batch)
            is_masked = batch["labels"][0] != -100
            num_masked += int(is_masked.sum())
            labels = batch["labels"][0][is_masked]
            logits = output.prediction_logits[0][is_masked]
            sums["mlm_loss"] += float(cross_entropy(logits, labels, reduction="sum"))
            sums["mlm_accuracy"] += int((logits.argmax(-1) == labels).sum())
            order = batch["sentence_order_label"]
            sums["sop_loss"] += float(cross_entropy(output.sop_logits, order))
            sums["sop_accuracy"] += int((output.sop_logits.argmax(-1) == order).sum())
    means = {
        name: sums[name] / (num_masked if "mlm" in name else len(dev)) for name in METRIC_NAMES
    }
    means["loss"] = means["mlm_loss"] + means["sop_loss"]
    expected = {f"dev_{name}": value for name, value in means.items()}
    assert result.scores == pytest.approx(expected, abs=1e-5)


def test_dev_texts_are_not_trained_on(tmp_path: Path) -> None:
    """Kills: a file that is in both the corpus and the dev texts, a file that is left out
    wrongly.
    """
    folder = texts(tmp_path / "texts")
    kept = [str(folder / "first.txt"), str(folder / "second.txt")]
    assert without_dev([str(folder)], [str(folder / "held.txt")]) == kept
    assert (
        without_dev([str(folder)], [str(tmp_path / "texts" / ".." / "texts" / "held.txt")]) == kept
    )
    assert without_dev([str(folder)], []) == [str(folder)]
    with pytest.raises(ValueError, match="contains the whole corpus"):
        without_dev(kept, [str(folder)])
    with pytest.raises(ValueError, match="org/set is both corpus and dev"):
        without_dev(["org/set"], ["org/set"])


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "adamw", "gradient_accumulation_steps": 2, "unpad": False}],
    ids=["lamb", "adamw"],
)
def test_an_interrupted_run_continues_bit_for_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Kills: a stream of examples that starts again or skips some, moments that are lost, workers
    that change the order.
    """
    config = small_config(tmp_path, **changes)
    pretrain(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "cut", on_update=stop_after(7))
    pretrain(replace(config, num_workers=1), tmp_path / "cut", resume=True)
    assert same_tensors(last_tensors(tmp_path / "cut"), last_tensors(tmp_path / "whole"))
    cut, whole = (read_metrics(tmp_path / run) for run in ("cut", "whole"))
    for line in (*cut, *whole):
        line.pop("tokens_per_second", None)
    assert cut == whole


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_kill_9_at_any_moment(tmp_path: Path, kills: int) -> None:
    """Kills: a checkpoint that can be half written, a resumed run that differs."""
    config = small_config(tmp_path, steps=30 * kills, eval_steps=2)
    (tmp_path / "recipe.toml").write_text(config.to_toml())
    pretrain(config, tmp_path / "whole")
    command = [sys.executable, str(ROOT / "scripts" / "pretrain.py"), str(tmp_path / "recipe.toml")]
    for _ in killed_runs(
        [*command, "--out", str(tmp_path / "cut"), "--resume"],
        tmp_path / "cut",
        PretrainingState,
        kills,
    ):
        AlbertForPreTraining.from_pretrained(tmp_path / "cut")
    pretrain(config, tmp_path / "cut", resume=True)
    assert same_tensors(last_tensors(tmp_path / "cut"), last_tensors(tmp_path / "whole"))
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


SCRIPT = """
import sys
from albert_torch.pretraining import PretrainingConfig, pretrain
for path in sys.argv[1:]:
    pretrain(PretrainingConfig.load(path), path.removesuffix(".toml"))
"""


def test_two_processes_compute_the_run_of_one(tmp_path: Path) -> None:
    """Kills: examples that both processes train on, means of unequal halves, a trust ratio of
    a shard.
    """
    config = small_config(
        tmp_path,
        dtype="float64",
        dropout=0.0,
        model_config={**SHAPE, "classifier_dropout_prob": 0.0},
    )
    pretrain(replace(config, gradient_accumulation_steps=2), tmp_path / "one")
    cache = tmp_path / "one" / "corpus"
    configs = {
        "two-ddp": replace(config, cache=str(cache)),
        "two-fsdp": replace(config, parallel="fsdp"),
    }
    run_two_processes(SCRIPT, write_recipes(configs, tmp_path), tmp_path)
    for name in configs:
        assert losses(tmp_path / name) == pytest.approx(losses(tmp_path / "one"), abs=1e-9)
        ours, theirs = (
            torch.load(tmp_path / run / "last.pt", weights_only=True)["model"]
            for run in (name, "one")
        )
        assert ours.keys() == theirs.keys()
        assert all(torch.allclose(ours[key], theirs[key], rtol=0, atol=1e-9) for key in ours)
        dev_losses = [
            [line["dev_loss"] for line in read_metrics(tmp_path / run) if "dev_loss" in line]
            for run in (name, "one")
        ]
        assert dev_losses[0] == pytest.approx(dev_losses[1], abs=1e-9)


def test_another_run_is_not_resumed(tmp_path: Path) -> None:
    """Kills: a run that continues on other texts or with another learning rate, a corpus that was
    moved and is refused.
    """
    config = small_config(tmp_path)
    pretrain(config, tmp_path / "run")
    with pytest.raises(ValueError, match="already holds a run: resume it"):
        pretrain(config, tmp_path / "run")
    with pytest.raises(ValueError, match=r"learning_rate was 0\.01, is 0\.02"):
        pretrain(replace(config, learning_rate=0.02), tmp_path / "run", resume=True)
    moved = tmp_path / "moved"
    (tmp_path / "texts").rename(moved)
    elsewhere = replace(config, corpus=[str(moved)], dev=[str(moved / "held.txt")])
    result = (tmp_path / "run" / "result.json").read_bytes()
    pretrain(elsewhere, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "result.json").read_bytes() == result
    with (moved / "first.txt").open("a") as file:
        file.write("w1 w2\n")
    with pytest.raises(ValueError, match=r"another corpus: .*name first.txt, bytes \d+"):
        pretrain(elsewhere, tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match=r"this is another run: .*name first.txt, bytes \d+"):
        pretrain(replace(elsewhere, cache=str(tmp_path / "new")), tmp_path / "run", resume=True)


def test_a_loss_that_is_nan_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: NaN weights that replace good ones, a message that does not say where it happened."""
    compute_metrics, results = trainer.compute_metrics, []

    def nan_in_update_6(*arguments: Any) -> torch.Tensor:
        results.append(compute_metrics(*arguments))
        return results[-1] * math.nan if len(results) == 6 else results[-1]

    monkeypatch.setattr(trainer, "compute_metrics", nan_in_update_6)
    message = r"update 6: the loss is nan.*on the examples from \(\d, 0, \d+\).*last good"
    with pytest.raises(Diverged, match=message):
        pretrain(small_config(tmp_path, log_steps=100), tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run", PretrainingState)
    assert checkpoint is not None
    assert checkpoint.state.step == 4
    model = AlbertForPreTraining.from_pretrained(tmp_path / "run")
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_run_needs_a_corpus(tmp_path: Path) -> None:
    """Kills: an error from deep inside instead of a sentence that says what to do."""
    with pytest.raises(ValueError, match="names no corpus"):
        pretrain(small_config(tmp_path, corpus=[]), tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="no file or directory nowhere/at/all"):
        pretrain(small_config(tmp_path, corpus=["nowhere/at/all"]), tmp_path / "b")
    (tmp_path / "short.txt").write_text("w1 w2\n\nw3 w4\n")
    with pytest.raises(ValueError, match="sentence order needs documents of two sentences or more"):
        pretrain(small_config(tmp_path, corpus=[str(tmp_path / "short.txt")]), tmp_path / "c")
    with pytest.raises(ValueError, match="optimizer='sgd' is not known; use one of lamb, adamw"):
        small_config(tmp_path, optimizer="sgd")
    with pytest.raises(ValueError, match=r"masked_lm_prob=0\.0 must be above 0"):
        small_config(tmp_path, masked_lm_prob=0)
    with pytest.raises(ValueError, match="must be below 1"):
        small_config(tmp_path, adam_beta2=1)
    with pytest.raises(
        ValueError, match="hidden_size"
    ):  # before a corpus is made ready, which may take hours
        pretrain(
            small_config(tmp_path, model_config={**SHAPE, "num_attention_heads": 5}), tmp_path / "d"
        )
    assert not (tmp_path / "d").exists()
    with pytest.raises(ValueError, match="max_length=7 must be at least 8"):
        small_config(tmp_path, max_length=7)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_can_be_read(path: Path) -> None:
    """Kills: a recipe with a key that does not exist, one that differs from the paper."""
    config = PretrainingConfig.load(path)
    if path.stem.endswith("-v2"):
        paper = (
            config.learning_rate,
            config.batch_size,
            config.steps,
            config.warmup_steps,
            config.max_length,
            config.optimizer,
        )
        assert paper == (0.00176, 4096, 125_000, 3_125, 512, "lamb")
        shape = json.loads((ROOT / "configs" / "model" / f"albert-{path.stem}.json").read_text())
        assert {name: shape[name] for name in config.model_config} == config.model_config
        assert (config.dropout, shape["hidden_dropout_prob"]) == (0.0, 0.0)


def test_position_embeddings_can_start_as_sinusoids(tmp_path: Path) -> None:
    """Kills: waves of a wrong length or deviation, sines and cosines that are not interleaved, a
    trained checkpoint that is overwritten.
    """
    config = small_config(tmp_path, sinusoidal_position_init=True)
    model = build_objective(config, load_tokenizer(config)).model
    weight = model.albert.embeddings.position_embeddings.weight
    for position, at in ((0, 0), (0, 1), (5, 4), (63, 9)):
        angle = position / 10_000 ** (2 * (at // 2) / 10)
        assert weight[position, at].item() == pytest.approx(
            0.1 * 2**0.5 * (math.cos, math.sin)[at % 2 == 0](angle), abs=1e-6
        )
    pretrain(config, tmp_path / "run")
    again = small_config(tmp_path, sinusoidal_position_init=True, model=str(tmp_path / "run"))
    trained = AlbertForPreTraining.from_pretrained(
        tmp_path / "run"
    ).albert.embeddings.position_embeddings.weight
    model = build_objective(again, load_tokenizer(again)).model
    assert torch.equal(model.albert.embeddings.position_embeddings.weight, trained)


def test_every_key_reaches_the_examples_and_the_optimizer(tmp_path: Path) -> None:
    """Kills: an option that does nothing."""
    corpus = texts(tmp_path / "texts") / "first.txt"
    keys = {
        "masked_lm_prob": 0.5,
        "max_ngram_size": 1,
        "short_seq_prob": 1.0,
        "random_next_sentence": True,
        "seed": 7,
        "max_length": 24,
    }
    cut = {
        "document_separator": "file",
        "sentence_splitting": "sentences",
        "encoding": "latin-1",
        "column": "body",
    }
    config = small_config(
        tmp_path,
        corpus=[str(corpus)],
        dev=[],
        lr_decay_power=2.0,
        weight_decay=0.3,
        dtype="bfloat16",
        **keys,
        **cut,
    )
    datasets = load_datasets(config, load_tokenizer(config), tmp_path / "corpus")
    examples = datasets.examples
    assert (
        examples.seed,
        examples.options.short_seq_prob,
        examples.options.random_next_sentence,
        examples.options.max_segment_tokens,
    ) == (7, 1.0, True, 21)
    assert (examples.masking.masked_lm_prob, examples.masking.cumulative_probabilities) == (0.5, [])
    assert {name: datasets.description[name] for name in cut} == cut
    pretrain(config, tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run", PretrainingState)
    assert checkpoint is not None
    groups = checkpoint.optimizer["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    rates = [line["learning_rate"] for line in read_metrics(tmp_path / "run")]
    assert rates == pytest.approx(
        [0.0, 0.005, *(0.01 * (1 - step / 12) ** 2 for step in range(2, 12))]
    )
