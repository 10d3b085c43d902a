"""`albert-torch finetune`: recipes by name, options, what is printed, resuming, and mistakes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.constants import ROOT
from helpers.small_runs import small_config
from helpers.word_models import CommandLine, run_process

from albert_torch.cli.finetune import TOPICS
from albert_torch.cli.main import command_parser
from albert_torch.finetuning import FinetuningConfig
from albert_torch.training.checkpointing import save_checkpoint

pytest.importorskip("accelerate")


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """The recipe of a run of seconds."""
    path = tmp_path / "small.toml"
    path.write_text(small_config(tmp_path).to_toml())
    return path


def test_a_run_prints_its_best_score_and_where_it_is(
    cli: CommandLine, recipe_file: Path, tmp_path: Path
) -> None:
    """Catches: a result that is not told, a log among the results, a run that cannot be used."""
    out = cli.output("finetune", recipe_file, "--out", tmp_path / "run")
    lines = out.splitlines()
    assert re.match(r"finished after 12 steps, best accuracy \d+\.\d\d at step \d+", lines[0])
    assert lines[1] == f"written to {tmp_path / 'run'}"
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert f"best accuracy {result['best']:.2f} at step {result['best_step']}" in lines[0]
    texts = tmp_path / "texts.txt"
    texts.write_text("w1 good w2\nbad w3\n")
    labels = cli.output("classify", texts, "--model", tmp_path / "run")
    assert len(labels.splitlines()) == 2


def test_options_replace_keys_of_the_recipe(
    cli: CommandLine, recipe_file: Path, tmp_path: Path
) -> None:
    """Catches: an option that is dropped on the way, for a number, a list, a switch, a table."""
    options = ["--steps", "8", "--labels", "1,0", "--no-unpad", "--dropout", "none"]
    options += ["--model-config", '{"hidden_size": 12, "num_attention_heads": 2}', "--scale", "0.5"]
    cli.output("finetune", recipe_file, "--out", tmp_path / "run", *options, "--quiet")
    ran = FinetuningConfig.load(tmp_path / "run" / "recipe.toml")
    assert (ran.steps, ran.unpad, ran.dropout) == (4, False, None)
    assert ran.task_options["labels"] == ["1", "0"]
    assert ran.model_config == {"hidden_size": 12, "num_attention_heads": 2}
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["hidden_size"] == 12


def test_several_seeds_and_resuming(cli: CommandLine, recipe_file: Path, tmp_path: Path) -> None:
    """Catches: a summary that is not printed, a second run that overwrites the first one."""
    options = ["--out", tmp_path / "run", "--steps", "4", "--seeds", "2"]
    out = cli.output("finetune", recipe_file, *options)
    assert len(out.splitlines()) == 4
    assert out.splitlines()[2].startswith("accuracy of 2 seeds: median ")
    code, again, err = cli("finetune", recipe_file, *options)
    assert (code, again) == (2, "")
    assert "--resume" in err or "resume" in err
    resumed = cli.output("finetune", recipe_file, *options, "--resume")
    assert resumed == out


def test_an_interrupted_run_says_how_to_continue(
    cli: CommandLine, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: Ctrl-C after hours, and no word about the checkpoint."""

    def interrupted_after_saving(*args: Any, **options: Any) -> None:
        save_checkpoint(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr("albert_torch.training.loop.save_checkpoint", interrupted_after_saving)
    code, out, err = cli("finetune", recipe_file, "--out", tmp_path / "run")
    assert (code, out) == (130, "")
    hint = f"{tmp_path / 'run'} has a checkpoint: the same command with --resume continues there"
    assert hint in err.splitlines()
    monkeypatch.undo()
    assert cli("finetune", recipe_file, "--out", tmp_path / "run", "--resume").code == 0


def test_a_packaged_recipe_by_name(cli: CommandLine, tmp_path: Path) -> None:
    """Catches: a name that is only looked for in the current directory."""
    data = tmp_path / "SST-2"
    data.mkdir()
    rows = [
        "sentence\tlabel",
        "a warm film\t1",
        "a dull film\t0",
        "a good film\t1",
        "a bad film\t0",
    ]
    for name in ("train", "dev"):
        (data / f"{name}.tsv").write_text("\n".join(rows) + "\n")
    options = ["--data", data, "--out", tmp_path / "run", "--steps", "2", "--warmup-steps", "0"]
    out = cli.output("finetune", "sst2-nano", *options, "--batch-size", "4")
    assert out.startswith("finished after 2 steps, best accuracy ")


def test_quiet_training_writes_only_its_results(recipe_file: Path, tmp_path: Path) -> None:
    """Catches: a progress bar or a log in spite of `--quiet`."""
    options = ["finetune", str(recipe_file), "--steps", "4", "--out", str(tmp_path / "run")]
    quiet = run_process(*options, "--quiet")
    assert quiet.returncode == 0
    assert quiet.stderr == ""
    assert len(quiet.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("trains", "quiet", "rank", "logged"),
    [
        (True, False, "0", ["info", "warning", "error"]),
        (True, True, "0", ["warning", "error"]),
        (False, False, "0", ["warning", "error"]),
        (True, False, "1", ["error"]),
    ],
)
def test_training_logs_to_standard_error(
    trains: bool, quiet: bool, rank: str, logged: list[str]
) -> None:
    """Catches: a log that only tests see; the same line from each of several processes."""
    code = f"""
import argparse, logging
from albert_torch.cli.options import configure_logging
configure_logging(argparse.Namespace(trains={trains}, quiet={quiet}))
for name in ("info", "warning", "error"):
    getattr(logging.getLogger("albert_torch"), name)(name)
"""
    environment = {**os.environ, "RANK": rank, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert result.stdout == ""
    assert [line.split()[-1] for line in result.stderr.splitlines()] == logged


def test_every_key_is_an_option_with_help_under_one_topic() -> None:
    """Catches: a new key without a topic, a topic with a key that was renamed."""
    keys = {name for name in FinetuningConfig.field_types() if name != "task_options"}
    assert sorted(name for names in TOPICS.values() for name in names) == sorted(keys)
    text = command_parser("finetune").format_help()
    for key in keys:
        assert re.search(rf"^  --{key.replace('_', '-')}\b", text, re.MULTILINE), key
    assert "options of tasks" in text
    assert "--learning-rate X" in text
    assert "(default: 1e-05)" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: RECIPE, --out"),
        (["{recipe}"], "required: --out"),
        (["sst3", "--out", "x"], "no packaged recipe is called 'sst3' (did you mean sst2?)"),
        (["base-v2", "--out", "x"], "no packaged recipe is called 'base-v2'; the recipes are"),
        (["missing.toml", "--out", "x"], "there is no recipe file missing.toml"),
        (["{recipe}", "--out", "x", "--lerning-rate", "1"], "(did you mean --learning-rate?)"),
        (["{recipe}", "--out", "x", "--steps", "ten"], "steps='ten' must be a whole number"),
        (["{recipe}", "--out", "x", "--steps", "0"], "steps=0 must be at least 1"),
        (
            ["{recipe}", "--out", "x", "--steps", "1"],
            "--steps 1 is less than the recipe's warmup_steps=2: add --warmup-steps, or use --scal",
        ),
        (
            ["{recipe}", "--out", "x", "--steps", "1", "--warmup-steps", "3"],
            "warmup_steps=3 is more than steps=1",
        ),
        (["{recipe}", "--out", "x", "--scale", "0"], "scale=0.0 must be above 0"),
        (["{recipe}", "--out", "x", "--dtype", "int8"], "dtype='int8' is not known; use one of"),
        (
            ["{recipe}", "--out", "x", "--doc-stride", "9"],
            "--doc-stride is an option of squad1, sq",
        ),
        (["{recipe}", "--out", "x", "--task", "squad3"], "task='squad3' is not known; use one of"),
        (
            ["{recipe}", "--out", "x", "--task", "squad3", "--mark", "?"],
            "task='squad3' is not known; use one of",
        ),
        (
            ["{renamed}", "--out", "x", "--mark", "?"],
            "renamed.toml: task='nowhere:Task' cannot be imported",
        ),
        (
            ["{recipe}", "--out", "x", "--task", "nowhere:Task"],
            "task='nowhere:Task' cannot be impo",
        ),
        (["{recipe}", "--out", "x", "--data", "./nowhere"], "nowhere"),
        (
            ["{typo}", "--out", "x"],
            "typo.toml: unknown key 'lerning_rate'; did you mean learning_r",
        ),
        (["{broken}", "--out", "x"], "broken.toml: "),
    ],
)
def test_mistakes_exit_2_with_one_line(
    cli: CommandLine,
    recipe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    """Catches: a traceback, or a directory that is left behind by a run that never began."""
    (tmp_path / "typo.toml").write_text('task = "sst2"\nlerning_rate = 1e-5\n')
    (tmp_path / "broken.toml").write_text("task = \n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "renamed.toml").write_text('task = "nowhere:Task"\n')
    files = {
        "recipe": recipe_file,
        "typo": "typo.toml",
        "broken": "broken.toml",
        "renamed": "renamed.toml",
    }
    filled = [argument.format(**files) if "{" in argument else argument for argument in arguments]
    assert message in cli.error("finetune", *filled)
    assert not (tmp_path / "x").exists()
