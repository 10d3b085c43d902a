"""Masked language modelling: config masks are drawn, and that words are learned."""

from pathlib import Path

import pytest
from helpers.small_runs import WORDS, small_config
from helpers.tasks import make_small_task

import albert_torch
from albert_torch.finetuning import finetune


def test_masks_are_drawn_as_the_recipe_says(tmp_path: Path) -> None:
    """Kills: a share of all tokens hidden, specials hidden, the same masks at every update, rows
    without any.
    """
    (tmp_path / "train.txt").write_text("\n".join(" ".join(WORDS[:30]) for _ in range(400)))
    task = make_small_task(tmp_path, "mlm", max_length=34)
    rows = task.load_split("train").examples
    assert all(len(row["input_ids"]) <= 34 for row in rows)
    drawn, again, other = (task.randomize(rows, seed) for seed in (1, 1, 2))
    assert drawn == again != other
    chosen = kept = hidden = total = 0
    for before, after in zip(rows, drawn, strict=True):
        assert after["labels"][0] == after["labels"][-1] == -100
        assert task.num_targets(after) >= 1
        for old, new, label in zip(
            before["input_ids"], after["input_ids"], after["labels"], strict=True
        ):
            total += 1
            assert label in (-100, old)
            assert label != -100 or new == old
            chosen += label != -100
            kept += label != -100 and new == old
            hidden += label != -100 and new == task.tokenizer.mask_token_id
    assert chosen / total == pytest.approx(0.15 * 32 / 34, abs=0.02)
    assert hidden / chosen == pytest.approx(0.8, abs=0.04)
    assert kept / chosen == pytest.approx(0.1, abs=0.04)


def test_masked_words_are_learned(tmp_path: Path) -> None:
    """Kills: logits read at other places than the labels, a likelihood with the wrong sign."""
    (tmp_path / "train.txt").write_text("\n".join(" ".join(WORDS[:30]) for _ in range(60)))
    config = small_config(
        tmp_path,
        task="mlm",
        data=str(tmp_path),
        dev="train.txt",
        max_length=32,
        steps=150,
        learning_rate=5e-3,
        eval_steps=50,
        dropout=0.0,
    )
    (result,) = finetune(config, tmp_path / "run")
    assert result.scores["perplexity"] < 20
    assert result.scores["log_likelihood"] < 0
    albert_torch.AlbertForMaskedLM.from_pretrained(tmp_path / "run")
