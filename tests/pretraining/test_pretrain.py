"""Pretraining runs: their numbers, the same run after any interruption and on two processes, and what they refuse."""

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

from albert_torch import AlbertForPreTraining
from albert_torch.pretraining import PretrainingConfig, pretrain, trainer
from albert_torch.pretraining.pretrain import load_datasets, without_dev
from albert_torch.pretraining.trainer import PretrainingState, build_objective
from albert_torch.training.checkpointing import load_checkpoint
from albert_torch.training.data import collate
from albert_torch.training.loop import Diverged
from albert_torch.training.metric_logger import read_metrics
from albert_torch.training.model import load_tokenizer

pytest.importorskip("accelerate")

CONFIGS = ROOT / "configs" / "pretrain"
NAMES = ("loss", "mlm_loss", "sop_loss", "mlm_accuracy", "sop_accuracy")


def texts(folder: Path) -> Path:
    """Two files of documents, a sentence a line: its words count up from a random one, and so do its first words."""
    folder.mkdir(exist_ok=True)
    draw = random.Random(0)
    for name in ("first.txt", "second.txt", "held.txt"):
        documents = []
        for _ in range(12):
            start = draw.randrange(30)
            lengths = [draw.randint(3, 8) for _ in range(draw.randint(2, 9))]
            documents.append(
                "\n".join(
                    " ".join(WORDS[(start + i + j) % 30] for j in range(n))
                    for i, n in enumerate(lengths)
                )
            )
        (folder / name).write_text("\n\n".join(documents) + "\n")
    return folder


def recipe(folder: Path, **changes: Any) -> PretrainingConfig:
    """Twelve updates of eight rows, a checkpoint every four, the last file held out."""
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


def test_a_run_learns_and_reports_what_transformers_measures(tmp_path: Path) -> None:
    """Kills: means over the wrong places or rows, an exported model that is not the trained one, held-out text in the
    corpus.
    """
    how = recipe(
        tmp_path,
        optimizer="adamw",
        learning_rate=5e-3,
        steps=300,
        warmup_steps=30,
        eval_steps=100,
        dropout=0.0,
    )
    result = pretrain(how, tmp_path / "run")
    found = losses(tmp_path / "run")
    assert len(found) == 300
    assert sum(found[-10:]) < 0.8 * sum(found[:10])
    assert result.scores["dev_mlm_accuracy"] > 0.1  # of 30 words; guessing finds 0.03
    assert json.loads((tmp_path / "run" / "result.json").read_text())["scores"] == result.scores
    assert (tmp_path / "run" / "curves.png").exists()

    model = transformers.AlbertForPreTraining.from_pretrained(
        tmp_path / "run", dtype=torch.float64
    ).eval()
    rows = load_datasets(how, load_tokenizer(how), tmp_path / "run" / "corpus").dev
    sums = dict.fromkeys(NAMES, 0.0)
    places = 0
    with torch.no_grad():
        for row in rows:
            batch = collate([row], 0)
            output = model(**batch)
            at = batch["labels"][0] != -100
            places += int(at.sum())
            logits = output.prediction_logits[0][at]
            sums["mlm_loss"] += float(
                torch.nn.functional.cross_entropy(logits, batch["labels"][0][at], reduction="sum")
            )
            sums["mlm_accuracy"] += int((logits.argmax(-1) == batch["labels"][0][at]).sum())
            order = batch["sentence_order_label"]
            sums["sop_loss"] += float(torch.nn.functional.cross_entropy(output.sop_logits, order))
            sums["sop_accuracy"] += int((output.sop_logits.argmax(-1) == order).sum())
    want = {name: sums[name] / (places if "mlm" in name else len(rows)) for name in NAMES}
    want["loss"] = want["mlm_loss"] + want["sop_loss"]
    assert result.scores == pytest.approx(
        {f"dev_{name}": value for name, value in want.items()}, abs=1e-5
    )


def test_held_out_texts_are_not_trained_on(tmp_path: Path) -> None:
    """Kills: a file that is in the corpus and in the evaluation; a file left out that is not."""
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
    """Kills: a stream that begins again or skips, moments that are lost, a worker that changes the order."""
    how = recipe(tmp_path, **changes)
    pretrain(how, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pretrain(how, tmp_path / "cut", on_update=stop_after(7))
    pretrain(replace(how, num_workers=1), tmp_path / "cut", resume=True)
    assert same_tensors(last_tensors(tmp_path / "cut"), last_tensors(tmp_path / "whole"))
    lines = [
        [
            {name: value for name, value in line.items() if name != "tokens_per_second"}
            for line in read_metrics(tmp_path / run)
        ]
        for run in ("cut", "whole")
    ]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_kill_9_at_any_moment(tmp_path: Path, kills: int) -> None:
    """Kills: a checkpoint that can be half written, a resumed run that differs."""
    how = recipe(tmp_path, steps=30 * kills, eval_steps=2)
    (tmp_path / "recipe.toml").write_text(how.to_toml())
    pretrain(how, tmp_path / "whole")
    command = [sys.executable, str(ROOT / "scripts" / "pretrain.py"), str(tmp_path / "recipe.toml")]
    for _ in killed_runs(
        [*command, "--out", str(tmp_path / "cut"), "--resume"],
        tmp_path / "cut",
        PretrainingState,
        kills,
    ):
        AlbertForPreTraining.from_pretrained(tmp_path / "cut")
    pretrain(how, tmp_path / "cut", resume=True)
    assert same_tensors(last_tensors(tmp_path / "cut"), last_tensors(tmp_path / "whole"))
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


WORKER = """
import sys
from albert_torch.pretraining import PretrainingConfig, pretrain
for path in sys.argv[1:]:
    pretrain(PretrainingConfig.load(path), path.removesuffix(".toml"))
"""


def test_two_processes_are_one(tmp_path: Path) -> None:
    """Kills: rows that both processes train on, means of unequal halves, a shared layer or a trust ratio that is a
    shard's own.
    """
    how = recipe(
        tmp_path,
        dtype="float64",
        dropout=0.0,
        model_config={**SHAPE, "classifier_dropout_prob": 0.0},
    )
    pretrain(replace(how, gradient_accumulation_steps=2), tmp_path / "one")
    cache = tmp_path / "one" / "corpus"
    two = {"two-ddp": replace(how, cache=str(cache)), "two-fsdp": replace(how, parallel="fsdp")}
    run_two_processes(WORKER, write_recipes(two, tmp_path), tmp_path)
    for name in two:
        assert losses(tmp_path / name) == pytest.approx(losses(tmp_path / "one"), abs=1e-9)
        ours, theirs = (
            torch.load(tmp_path / run / "last.pt", weights_only=True)["model"]
            for run in (name, "one")
        )
        assert ours.keys() == theirs.keys()
        assert all(torch.allclose(ours[key], theirs[key], rtol=0, atol=1e-9) for key in ours)
        evaluated = [
            [line["dev_loss"] for line in read_metrics(tmp_path / run) if "dev_loss" in line]
            for run in (name, "one")
        ]
        assert evaluated[0] == pytest.approx(evaluated[1], abs=1e-9)


def test_resuming_another_run_says_what_differs(tmp_path: Path) -> None:
    """Kills: a run continued on other text or with another rate, silently; a moved corpus that is refused."""
    how = recipe(tmp_path)
    pretrain(how, tmp_path / "run")
    with pytest.raises(ValueError, match="already holds a run: resume it"):
        pretrain(how, tmp_path / "run")
    with pytest.raises(ValueError, match=r"learning_rate was 0\.01, is 0\.02"):
        pretrain(replace(how, learning_rate=0.02), tmp_path / "run", resume=True)
    moved = tmp_path / "moved"
    (tmp_path / "texts").rename(moved)
    elsewhere = replace(how, corpus=[str(moved)], dev=[str(moved / "held.txt")])
    result = (tmp_path / "run" / "result.json").read_bytes()
    pretrain(elsewhere, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "result.json").read_bytes() == result
    with (moved / "first.txt").open("a") as file:
        file.write("w1 w2\n")
    with pytest.raises(ValueError, match=r"another corpus: .*name first.txt, bytes \d+"):
        pretrain(elsewhere, tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match=r"this is another run: .*name first.txt, bytes \d+"):
        pretrain(replace(elsewhere, cache=str(tmp_path / "new")), tmp_path / "run", resume=True)


def test_a_loss_that_is_no_number_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: NaN weights saved or exported over good ones, a message that does not say where."""
    compute_metrics, results = trainer.compute_metrics, []

    def poisoned(*arguments: Any) -> torch.Tensor:
        results.append(compute_metrics(*arguments))
        return results[-1] * math.nan if len(results) == 6 else results[-1]

    monkeypatch.setattr(trainer, "compute_metrics", poisoned)
    with pytest.raises(
        Diverged,
        match=r"update 6: the loss is nan.*on the examples from \(\d, 0, \d+\).*last good checkpoint",
    ):
        pretrain(recipe(tmp_path, log_steps=100), tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run", PretrainingState)
    assert checkpoint is not None
    assert checkpoint.state.step == 4
    model = AlbertForPreTraining.from_pretrained(tmp_path / "run")
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_run_needs_a_corpus(tmp_path: Path) -> None:
    """Kills: a traceback where a sentence would do."""
    with pytest.raises(ValueError, match="names no corpus"):
        pretrain(recipe(tmp_path, corpus=[]), tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="no file or directory nowhere/at/all"):
        pretrain(recipe(tmp_path, corpus=["nowhere/at/all"]), tmp_path / "b")
    (tmp_path / "short.txt").write_text("w1 w2\n\nw3 w4\n")
    with pytest.raises(ValueError, match="sentence order needs documents of two sentences or more"):
        pretrain(recipe(tmp_path, corpus=[str(tmp_path / "short.txt")]), tmp_path / "c")
    with pytest.raises(ValueError, match="optimizer='sgd' is not known; use one of lamb, adamw"):
        recipe(tmp_path, optimizer="sgd")
    with pytest.raises(ValueError, match=r"masked_lm_prob=0\.0 must be above 0"):
        recipe(tmp_path, masked_lm_prob=0)
    with pytest.raises(ValueError, match="must be below 1"):
        recipe(tmp_path, adam_beta2=1)
    with pytest.raises(
        ValueError, match="hidden_size"
    ):  # before a corpus is made ready, which may take hours
        pretrain(recipe(tmp_path, model_config={**SHAPE, "num_attention_heads": 5}), tmp_path / "d")
    assert not (tmp_path / "d").exists()
    with pytest.raises(
        ValueError, match="max_length=7 must be at least 8"
    ):
        recipe(tmp_path, max_length=7)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_can_be_read(path: Path) -> None:
    """Kills: a recipe with a key that does not exist; a published one that is not the paper's."""
    how = PretrainingConfig.load(path)
    if path.stem.endswith("-v2"):
        paper = (
            how.learning_rate,
            how.batch_size,
            how.steps,
            how.warmup_steps,
            how.max_length,
            how.optimizer,
        )
        assert paper == (0.00176, 4096, 125_000, 3_125, 512, "lamb")
        shape = json.loads((ROOT / "configs" / "model" / f"albert-{path.stem}.json").read_text())
        assert {name: shape[name] for name in how.model_config} == how.model_config
        assert (how.dropout, shape["hidden_dropout_prob"]) == (0.0, 0.0)


def test_position_embeddings_can_start_as_sinusoids(tmp_path: Path) -> None:
    """Kills: waves of another length or deviation, sines and cosines apart, a trained checkpoint overwritten."""
    how = recipe(tmp_path, sinusoidal_position_init=True)
    model = build_objective(how, load_tokenizer(how)).model
    weight = model.albert.embeddings.position_embeddings.weight
    for position, at in ((0, 0), (0, 1), (5, 4), (63, 9)):
        angle = position / 10_000 ** (2 * (at // 2) / 10)
        assert weight[position, at].item() == pytest.approx(
            0.1 * 2**0.5 * (math.cos, math.sin)[at % 2 == 0](angle), abs=1e-6
        )
    pretrain(how, tmp_path / "run")
    again = recipe(tmp_path, sinusoidal_position_init=True, model=str(tmp_path / "run"))
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
    how = recipe(
        tmp_path,
        corpus=[str(corpus)],
        dev=[],
        lr_decay_power=2.0,
        weight_decay=0.3,
        dtype="bfloat16",
        **keys,
        **cut,
    )
    material = load_datasets(how, load_tokenizer(how), tmp_path / "corpus")
    examples = material.examples
    assert (
        examples.seed,
        examples.options.short_seq_prob,
        examples.options.random_next_sentence,
        examples.options.max_segment_tokens,
    ) == (7, 1.0, True, 21)
    assert (examples.masking.masked_lm_prob, examples.masking.cumulative_probabilities) == (0.5, [])
    assert {name: material.description[name] for name in cut} == cut
    pretrain(how, tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run", PretrainingState)
    assert checkpoint is not None
    groups = checkpoint.optimizer["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    rates = [line["learning_rate"] for line in read_metrics(tmp_path / "run")]
    assert rates == pytest.approx(
        [0.0, 0.005, *(0.01 * (1 - step / 12) ** 2 for step in range(2, 12))]
    )
