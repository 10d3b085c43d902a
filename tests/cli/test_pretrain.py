"""`albert-torch train-tokenizer` and `pretrain`: from texts to a model, and mistakes."""

import json
import random
import re
from pathlib import Path

import pytest
from helpers.small_runs import SHAPE
from helpers.word_models import CommandLine

from albert_torch import AlbertTokenizer
from albert_torch.cli.main import command_parser
from albert_torch.cli.pretrain import TOPICS
from albert_torch.pretraining import PretrainingConfig

pytest.importorskip("accelerate")
SYLLABLES = ["ka", "to", "mi", "re", "sol", "fa", "lun", "ger", "wes", "pa"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of sentences of made-up words."""
    folder = tmp_path_factory.mktemp("texts")
    rng = random.Random(0)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(300)]
    for name, count in (("first.txt", 300), ("second.txt", 40)):
        sentences = [" ".join(rng.choices(words, k=8)).capitalize() + "." for _ in range(count)]
        (folder / name).write_text("\n".join(sentences) + "\n")
    return folder


@pytest.fixture(scope="module")
def tokenizer(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from albert_torch.cli.main import main

    folder = tmp_path_factory.mktemp("tokenizer")
    assert main(["train-tokenizer", str(texts), "--out", str(folder), "--vocab-size", "80"]) == 0
    return folder


def test_train_tokenizer_writes_a_vocabulary_of_the_size_asked_for(
    cli: CommandLine, texts: Path, tmp_path: Path
) -> None:
    """Catches: an option that does not reach the trainer."""
    options = ["--vocab-size", "70", "--keep-case", "--quiet"]
    code, out, err = cli("train-tokenizer", texts, "--out", tmp_path / "x", *options)
    assert (code, out, err) == (0, f"70 pieces in {tmp_path / 'x'}\n", "")
    tokenizer = AlbertTokenizer.from_pretrained(tmp_path / "x")
    assert len(tokenizer) == 70
    assert tokenizer("Ka")["input_ids"] != tokenizer("ka")["input_ids"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: PATH, --out"),
        (["{texts}", "--out", "x", "--vocab-size", "20"], "vocab_size=20"),
        (["{texts}", "--out", "x", "--character-coverage", "2"], "character_coverage=2.0"),
        (["./nowhere", "--out", "x"], "nowhere"),
    ],
)
def test_mistakes_of_train_tokenizer(
    cli: CommandLine,
    texts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    """Catches: a traceback, or a directory that is left behind."""
    monkeypatch.chdir(tmp_path)
    filled = [argument.format(texts=texts) for argument in arguments]
    assert message in cli.error("train-tokenizer", *filled, "--quiet")


def test_pretrain_by_a_packaged_recipe(
    cli: CommandLine, texts: Path, tokenizer: Path, tmp_path: Path
) -> None:
    """Catches: a recipe that needs a clone, an option that is ignored, an unusable model."""
    options = ["--tokenizer", tokenizer, "--corpus", texts, "--dev", texts / "second.txt"]
    options += ["--model-config", json.dumps(SHAPE), "--max-length", "32", "--batch-size", "4"]
    options += ["--steps", "3", "--warmup-steps", "1", "--eval-steps", "0", "--quiet"]
    out = cli.output("pretrain", "nano", "--out", tmp_path / "run", *options)
    first, second = out.splitlines()
    assert first.startswith("finished after 3 steps; on the dev texts: ")
    assert re.search(r"loss \d+\.\d{4}", first)
    assert second == f"written to {tmp_path / 'run'}"
    ran = PretrainingConfig.load(tmp_path / "run" / "recipe.toml")
    assert (ran.optimizer, ran.document_separator) == ("adamw", "file")  # from the recipe
    result = json.loads(cli.output("fill-mask", "the [MASK]", "--model", tmp_path / "run"))
    assert len(result["masks"][0]) == 5
    resumed = cli.output("pretrain", "nano", "--out", tmp_path / "run", *options, "--resume")
    assert resumed == out


def test_every_key_is_an_option_with_help_under_one_topic() -> None:
    """Catches: a new key without a topic, a topic with a key that was renamed."""
    keys = set(PretrainingConfig.field_types())
    assert sorted(name for names in TOPICS.values() for name in names) == sorted(keys)
    text = command_parser("pretrain").format_help()
    for key in keys:
        assert re.search(rf"^  --{key.replace('_', '-')}\b", text, re.MULTILINE), key


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: RECIPE, --out"),
        (["nano", "--out", "x"], "corpus"),
        (["sst2", "--out", "x"], "no packaged recipe is called 'sst2'"),
        (["nanno", "--out", "x"], "called 'nanno' (did you mean nano?)"),
        (["nano", "--out", "x", "--optimizer", "sgd"], "optimizer='sgd' is not known; use one of"),
        (["nano", "--out", "x", "--corpuss", "y"], "(did you mean --corpus?)"),
        (["nano", "--out", "x", "--corpus", "./nowhere", "--tokenizer", "{tokenizer}"], "nowhere"),
    ],
)
def test_mistakes_of_pretrain(
    cli: CommandLine,
    tokenizer: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    """Catches: a traceback, or a run that begins with a mistake in its recipe."""
    monkeypatch.chdir(tmp_path)
    filled = [argument.format(tokenizer=tokenizer) for argument in arguments]
    assert message in cli.error("pretrain", *filled, "--quiet")
