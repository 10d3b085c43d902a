"""Recipes: the paper's table, what the command line changes, and what a wrong key or value says."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.constants import ROOT
from helpers.small_runs import small_config

from albert_torch.cli.main import main
from albert_torch.finetuning import FinetuningConfig
from albert_torch.finetuning.tasks.registry import TASKS

CONFIGS = ROOT / "configs" / "finetune"
# Table 14 of the paper: learning rate, batch, dropout, classifier dropout, steps, warmup, length.
TABLE_14 = {
    "cola": (1e-5, 16, 0.0, 0.1, 5336, 320, 512),
    "stsb": (2e-5, 16, 0.0, 0.1, 3598, 214, 512),
    "sst2": (1e-5, 32, 0.0, 0.1, 20935, 1256, 512),
    "mnli": (3e-5, 128, 0.0, 0.1, 10000, 1000, 512),
    "qnli": (1e-5, 32, 0.0, 0.1, 33112, 1986, 512),
    "qqp": (5e-5, 128, 0.1, 0.1, 14000, 1000, 512),
    "rte": (3e-5, 32, 0.1, 0.1, 800, 200, 512),
    "mrpc": (2e-5, 32, 0.0, 0.1, 800, 200, 512),
    "wnli": (2e-5, 16, 0.1, 0.1, 2000, 250, 512),
    "squad1": (5e-5, 48, 0.0, 0.1, 3649, 365, 384),
    "squad2": (3e-5, 48, 0.0, 0.1, 8144, 814, 512),
    "race": (1e-5, 32, 0.0, 0.1, 12000, 1000, 512),
}


@pytest.mark.parametrize("name", TABLE_14)
def test_the_papers_table(name: str) -> None:
    """Kills: a misprinted rate, batch, dropout or number of updates."""
    config = FinetuningConfig.load(CONFIGS / f"{name}.toml")
    values = (
        config.learning_rate,
        config.batch_size,
        config.dropout,
        config.classifier_dropout,
        config.steps,
        config.warmup_steps,
    )
    assert (*values, config.max_length) == TABLE_14[name]
    assert (config.ffn_dropout_prob or 0.0) == config.dropout  # Google's code drops there too
    optimizer = (
        config.weight_decay,
        config.adam_beta1,
        config.adam_beta2,
        config.adam_eps,
        config.max_grad_norm,
    )
    assert optimizer == (0.01, 0.9, 0.999, 1e-6, 1.0)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_can_be_read(path: Path) -> None:
    """Kills: a recipe with a key or a task that does not exist."""
    assert FinetuningConfig.load(path).task in TASKS


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"learning_rat": 1},
            "unknown key 'learning_rat'; did you mean learning_rate?.*warmup_steps.*lora_rank",
        ),
        ({"steps": 1.5}, "steps=1.5 must be a whole number"),
        ({"steps": True}, "steps=True must be a whole number"),
        ({"learning_rate": "fast"}, "learning_rate='fast' must be a number"),
        ({"unpad": 1}, "unpad=1 must be true or false"),
        ({"task": "classification", "labels": [1]}, r"labels=\[1\] must be a list of texts"),
        ({"dropout": 1.5}, "dropout=1.5 must be from 0 to 1"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"dtype": "half"}, "dtype='half' is not known; use one of float32, bfloat16, float64"),
        ({"steps": 5, "warmup_steps": 6}, "warmup_steps=6 is more than steps=5"),
        (
            {"batch_size": 8, "gradient_accumulation_steps": 3},
            "not a multiple of gradient_accumulation_steps=3",
        ),
        ({"lora_per_depth": True}, "needs a lora_rank"),
        ({"lora_rank": 2, "parallel": "fsdp"}, "use parallel='ddp'"),
    ],
)
def test_a_wrong_key_or_value_is_named(values: dict[str, Any], message: str) -> None:
    """Kills: a misspelt key that is ignored, a type that is converted silently."""
    with pytest.raises(ValueError, match=message):
        FinetuningConfig.from_dict(values)


def test_errors_name_the_file(tmp_path: Path) -> None:
    """Kills: an error in one of many recipes that does not say which."""
    (tmp_path / "bad.toml").write_text("steps = [")
    with pytest.raises(ValueError, match=r"bad\.toml"):
        FinetuningConfig.load(tmp_path / "bad.toml")
    with pytest.raises(FileNotFoundError, match=r"no recipe .*none\.toml"):
        FinetuningConfig.load(tmp_path / "none.toml")


def test_the_text_of_a_recipe_is_the_recipe(tmp_path: Path) -> None:
    """Kills: a key lost on the way to recipe.toml, an escaped text that is not unescaped."""
    config = small_config(
        tmp_path, labels=["a b", 'c"d'], dropout=None, classifier_dropout=None, text="ünï\\code"
    )
    (tmp_path / "recipe.toml").write_text(config.to_toml(), encoding="utf-8")
    assert FinetuningConfig.load(tmp_path / "recipe.toml") == config


def test_every_key_is_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kills: a key that the command line cannot change, text that is not read as the key's type."""
    given: list[FinetuningConfig] = []

    def record(config: FinetuningConfig, directory: str, **options: Any) -> list[Any]:
        given.append(config)
        return []

    monkeypatch.setattr(sys.modules["albert_torch.finetuning.finetune"], "finetune", record)
    config = small_config(tmp_path)
    (tmp_path / "recipe.toml").write_text(config.to_toml())
    arguments = [str(tmp_path / "recipe.toml"), "--out", "x", "--learning-rate", "3e-5"]
    arguments += ["--steps", "7", "--no-unpad", "--labels", "no,yes", "--dropout", "none"]
    arguments += ["--model-config", '{"hidden_size": 48}', "--lora-rank", "2", "--lora-per-depth"]
    assert main(["finetune", *arguments]) == 0
    want = replace(
        config,
        learning_rate=3e-5,
        steps=7,
        unpad=False,
        task_options={**config.task_options, "labels": ["no", "yes"]},
        dropout=None,
        model_config={"hidden_size": 48},
        lora_rank=2,
        lora_per_depth=True,
    )
    assert given == [want]
    with pytest.raises(SystemExit):
        main(["finetune", "--task", "squad2", "--help"])
    options = capsys.readouterr().out
    for name in (*FinetuningConfig.field_types(), "doc_stride", "answerability_head"):
        if name != "task_options":
            assert f"--{name.replace('_', '-')}" in options, name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"doc_stride": 3}, "unknown key 'doc_stride'.*; the options of a task need the key task"),
        (
            {"task": "race", "doc_stride": 3},
            "unknown key 'doc_stride'; .*lora_per_depth, max_qa_length$",
        ),
        ({"task": "squad1", "answerability_head": True}, "unknown key 'answerability_head'"),
        ({"task": "stsb", "labels": ["a"]}, "unknown key 'labels'; did you mean label"),
        ({"task": "race", "max_qa_lenght": 3}, "did you mean max_qa_length"),
        ({"task": "race", "max_qa_length": 0}, "max_qa_length=0 must be at least 1"),
        ({"task": "mlm", "masked_lm_prob": 1.5}, "masked_lm_prob=1.5 must be from 0 to 1"),
        ({"task": "sst2", "task_options": {"x": 1}}, "unknown key 'x'"),
        ({"task": "sst3"}, "task='sst3' is not known; use one of cola, sst2"),
    ],
)
def test_a_wrong_option_of_a_task_is_named(values: dict[str, Any], message: str) -> None:
    """Kills: an option of another task that is ignored, a suggestion from half of the keys."""
    with pytest.raises(ValueError, match=message):
        FinetuningConfig.from_dict(values)


def test_the_options_of_a_task_are_complete() -> None:
    """Kills: a default that recipe.toml does not record, options of two forms that differ."""
    flat = FinetuningConfig.from_dict({"task": "squad2", "answerability_head": "true"})
    nested = FinetuningConfig(task="squad2", task_options={"answerability_head": True})
    assert flat == nested
    assert flat.task_options == {"doc_stride": 128, "answerability_head": True}
    assert flat.to_dict()["doc_stride"] == 128
    assert "task_options" not in flat.to_dict()


def test_scale() -> None:
    """Kills: a short run with a long warmup, a scale that makes zero updates."""
    config = FinetuningConfig(steps=1000, warmup_steps=100, eval_steps=50, save_steps=0)
    short = config.scaled(0.001)
    assert (short.steps, short.warmup_steps, short.eval_steps, short.save_steps) == (1, 1, 1, 0)
    assert config.scaled(0.1).warmup_steps == 10
    with pytest.raises(ValueError, match="must be above 0"):
        config.scaled(0)
