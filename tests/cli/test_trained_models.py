"""What the packaged recipe of SQuAD 2.0 and runs with LoRA write can be used by every command."""

import json
from pathlib import Path

import numpy
import pytest
import torch
from helpers.small_runs import SHAPE, WORDS, table, vocabulary
from helpers.tasks import write_squad
from helpers.word_models import CommandLine

from albert_torch import AlbertConfig, AlbertModel, Encoder
from albert_torch.cli.main import main
from albert_torch.finetuning.lora import load_merged
from albert_torch.heads import AlbertForAnswerableQuestions
from albert_torch.inference import optimize

pytest.importorskip("accelerate")

CONTEXT = "w1 w2 w3 good w4 w5 w6 bad w7 w8 ."
SMALL = ["--max-length", "24", "--batch-size", "8", "--steps", "6", "--warmup-steps", "1"]
SMALL += ["--learning-rate", "2e-3", "--eval-steps", "3", "--quiet"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained model: random weights, and a vocabulary of words."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    AlbertModel(AlbertConfig(**SHAPE, vocab_size=5 + len(WORDS))).save_pretrained(folder)
    return vocabulary(folder)


@pytest.fixture(scope="module")
def squad2(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a few steps of the packaged recipe."""
    folder = tmp_path_factory.mktemp("squad2")
    data = ["--train", str(write_squad(folder / "train.json", impossible=True))]
    data += ["--dev", str(write_squad(folder / "dev.json", 8, impossible=True))]
    model = ["--model", str(base), "--doc-stride", "6"]
    assert main(["finetune", "squad2", *data, *model, "--out", str(folder / "run"), *SMALL]) == 0
    return folder / "run"


def test_the_model_of_the_squad2_recipe_has_its_answerability_head(squad2: Path) -> None:
    """Catches: a head that is trained, and dropped silently when the model is loaded."""
    model = AlbertForAnswerableQuestions.from_pretrained(squad2)
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        want = model(ids)
    fast = optimize(model)(ids)
    assert set(fast) == {"start_logits", "end_logits", "impossible_logits"}
    for name in fast:
        assert (fast[name] - want[name]).abs().max() < 1e-4
    assert Encoder.from_pretrained(squad2).answer("what", CONTEXT).text


def test_answer_and_embed_use_the_squad2_model(
    cli: CommandLine, squad2: Path, tmp_path: Path
) -> None:
    """Catches: "unexpected impossible.bias" for a model that our own recipe makes."""
    for options in ([], ["--allow-no-answer"], ["--dtype", "int8"], ["--dtype", "bfloat16"]):
        out = cli.output("answer", "what cause", CONTEXT, "--model", squad2, *options)
        result = json.loads(out)
        assert result["answer"] == CONTEXT[result["start"] : result["end"]]
        assert 0 <= result["score"] <= 1
    cli.output("embed", CONTEXT, tmp_path / "x.npy", "--model", squad2)
    assert numpy.load(tmp_path / "x.npy").shape == (1, SHAPE["hidden_size"])


def test_convert_and_parity_keep_the_squad2_model(
    cli: CommandLine, squad2: Path, tmp_path: Path
) -> None:
    """Catches: a conversion that loses a head; a check that leaves a head out."""
    cli.output("convert", squad2, tmp_path / "x")
    question = ["answer", "what cause", CONTEXT, "--allow-no-answer", "--model"]
    assert cli.output(*question, tmp_path / "x") == cli.output(*question, squad2)
    options = ["--dtype", "float64", "--backend", "sdpa,unpad"]
    code, out, _ = cli("parity", tmp_path / "x", *options)
    assert code == 0
    assert "AnswerableQuestions" in out


@pytest.fixture(scope="module", params=["shared", "per-depth"])
def lora(
    request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, bool]:
    """The directory of a few steps of classification with LoRA, and whether layers differ."""
    folder = tmp_path_factory.mktemp("lora")
    data = ["--data", str(table(folder / "data", train=40, dev=16))]
    options = ["--model", str(base), "--out", str(folder / "run"), "--lora-rank", "2"]
    is_per_depth = request.param == "per-depth"
    options += ["--lora-per-depth"] if is_per_depth else []
    assert main(["finetune", "classification", *data, *options, *SMALL]) == 0
    return folder / "run", is_per_depth


def test_every_command_uses_a_lora_directory(
    cli: CommandLine, lora: tuple[Path, bool], tmp_path: Path
) -> None:
    """Catches: an adapter that can be trained and not used, or used without its deltas."""
    run, is_per_depth = lora
    texts = tmp_path / "texts.txt"
    texts.write_text("w1 good w2\nw3 bad\n")
    model = load_merged(run)
    encoder = Encoder.from_pretrained(run)
    results = [json.loads(x) for x in cli.output("classify", texts, "--model", run).splitlines()]
    assert [result["label"] in ("0", "1") for result in results] == [True, True]
    ids = torch.tensor([encoder.tokenizer("w1 good w2")["input_ids"]])
    with torch.no_grad():
        probabilities = model(ids).logits.softmax(-1)[0].tolist()
    assert [results[0]["scores"][name] for name in ("0", "1")] == pytest.approx(
        probabilities, abs=1e-5
    )
    cli.output("embed", texts, tmp_path / "x.npy", "--model", run)
    assert numpy.load(tmp_path / "x.npy").shape == (2, SHAPE["hidden_size"])
    cli.output("merge", run, tmp_path / "merged", *(["--expand"] if is_per_depth else []))
    cli.output("convert", run, tmp_path / "converted")
    for name in ("merged", "converted"):
        again = cli.output("classify", texts, "--model", tmp_path / name)
        for result, merged in zip(results, map(json.loads, again.splitlines()), strict=True):
            assert merged["scores"] == pytest.approx(result["scores"], abs=1e-5)
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert config["num_hidden_groups"] == (SHAPE["num_hidden_layers"] if is_per_depth else 1)
    assert cli("parity", tmp_path / "merged", "--dtype", "float64", "--backend", "sdpa").code == 0


def test_answer_uses_a_lora_directory(cli: CommandLine, base: Path, tmp_path: Path) -> None:
    """Catches: adapters that only classifiers can have."""
    data = ["--train", write_squad(tmp_path / "train.json"), "--dev", "none"]
    options = ["--model", base, "--out", tmp_path / "run", "--lora-rank", "2", "--doc-stride", "6"]
    cli.output("finetune", "squad1", *data, *options, *SMALL)
    result = json.loads(cli.output("answer", "what", CONTEXT, "--model", tmp_path / "run"))
    assert result["answer"] == CONTEXT[result["start"] : result["end"]]
