"""Two processes with half of a batch each compute the same run as one process: DDP and FSDP2."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.small_runs import (
    WORDS,
    losses,
    run_two_processes,
    sentences,
    small_config,
    write_recipes,
)

from albert_torch import AlbertForSequenceClassification
from albert_torch.finetuning import finetune

pytest.importorskip("accelerate")

EXACT = {"dtype": "float64", "dropout": 0.0, "classifier_dropout": 0.0}


def tagged_sentences(folder: Path) -> Path:
    """Sentences of different lengths, so that halves of a batch have unequal numbers of labels."""
    folder.mkdir(exist_ok=True)
    for name, seed in (("train", 0), ("dev", 1)):
        blocks = []
        for text, _ in sentences(30, seed):
            tags = ["B-X" if word in ("good", "bad") else "O" for word in text.split()]
            lines = [f"{word} {tag}" for word, tag in zip(text.split(), tags, strict=True)]
            blocks.append("\n".join(lines) + "\n")
        (folder / f"{name}.txt").write_text("\n".join(blocks))
    return folder


# Each of the two processes does every run in turn; runs called "cut" are interrupted and resumed.
SCRIPT = """
import sys
from albert_torch.finetuning import FinetuningConfig, finetune


def interrupt(step):
    if step == 7:
        raise KeyboardInterrupt


for path in sys.argv[1:]:
    config, directory = FinetuningConfig.load(path), path.removesuffix(".toml")
    is_cut = directory.endswith("cut")
    if is_cut:
        try:
            finetune(config, directory, on_update=interrupt)
        except KeyboardInterrupt:
            pass
    finetune(config, directory, resume=is_cut)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directories of all runs: `one-*` on this process and `two-*` on two processes."""
    folder = tmp_path_factory.mktemp("runs")
    tags = small_config(
        folder,
        task="conll",
        data=str(tagged_sentences(folder / "conll")),
        gradient_accumulation_steps=2,
        **EXACT,
    )
    text = folder / "text.txt"
    text.write_text("\n".join(" ".join(WORDS[i % 30 : i % 30 + 9]) for i in range(60)))
    words = small_config(
        folder, task="mlm", data="", train=str(text), dev="none", max_length=12, **EXACT
    )
    finetune(tags, folder / "one-tags")
    finetune(words, folder / "one-words")
    configs = {
        "two-tags-ddp": tags,
        "two-tags-fsdp": replace(tags, parallel="fsdp"),
        "two-words-fsdp": replace(words, parallel="fsdp"),
        "two-ddp-whole": small_config(folder),
        "two-ddp-cut": small_config(folder),
        "two-fsdp-whole": small_config(folder, parallel="fsdp"),
        "two-fsdp-cut": small_config(folder, parallel="fsdp"),
    }
    run_two_processes(SCRIPT, write_recipes(configs, folder), folder)
    return folder


@pytest.mark.parametrize("run", ["tags-ddp", "tags-fsdp", "words-fsdp"])
def test_two_processes_have_the_losses_of_one(runs: Path, run: str) -> None:
    """Kills: gradients that are summed instead of averaged, means of unequal halves, a shared layer
    that is reduced twice, a tied decoder that is separated from its embeddings by sharding.
    """
    one, two = runs / f"one-{run.split('-')[0]}", runs / f"two-{run}"
    assert len(losses(two)) == 12
    assert losses(two) == pytest.approx(losses(one), abs=1e-9)
    ours, theirs = (torch.load(path / "last.pt", weights_only=True)["model"] for path in (two, one))
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], rtol=0, atol=1e-9) for name in ours)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_continue_bit_for_bit(runs: Path, parallel: str) -> None:
    """Kills: moments of shards that are lost, dropout that starts again or is the same on both
    processes.
    """
    whole, cut = (
        torch.load(runs / f"two-{parallel}-{run}" / "last.pt", weights_only=True)
        for run in ("whole", "cut")
    )
    assert whole["step"] == cut["step"] == 12
    assert all(torch.equal(whole["model"][name], cut["model"][name]) for name in whole["model"])
    assert losses(runs / f"two-{parallel}-whole") == losses(runs / f"two-{parallel}-cut")
    AlbertForSequenceClassification.from_pretrained(runs / f"two-{parallel}-cut")
