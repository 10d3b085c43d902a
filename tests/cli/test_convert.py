"""`albert-torch convert` and `merge`: every source, what is printed, and mistakes."""

import re
from pathlib import Path

import pytest
import torch
import transformers
from helpers.constants import TINY
from helpers.word_models import CommandLine, save_word_model
from safetensors.torch import load_file, save_file

from albert_torch import AlbertForSequenceClassification, AlbertTokenizer
from albert_torch.finetuning.lora import save_adapter
from albert_torch.finetuning.lora_layers import add_lora
from albert_torch.parity.reference import generate_checkpoint

FAST = ["--dtype", "float64", "--backend", "unpad"]


def old_name(key: str) -> str:
    """The name of a parameter as TensorFlow checkpoints and early PyTorch ones have it."""
    key = re.sub(r"(LayerNorm|layer_norm)\.weight", r"\1.gamma", key)
    return re.sub(r"(LayerNorm|layer_norm)\.bias", r"\1.beta", key)


@pytest.mark.parametrize("layout", ["bin", "sharded", "module", "gamma"])
def test_convert_reads_every_source(cli: CommandLine, layout: str, tmp_path: Path) -> None:
    """Catches: a conversion that changes a number or a name, or that transformers cannot read."""
    source, target = tmp_path / "source", tmp_path / "target"
    generate_checkpoint("MaskedLM", TINY, source, seed=0)
    want = load_file(source / "model.safetensors")
    if layout == "sharded":
        model = transformers.AlbertForMaskedLM.from_pretrained(source)
        model.save_pretrained(source, max_shard_size="10KB")
        (source / "model.safetensors").unlink(missing_ok=True)
    else:
        names = {
            "bin": dict(zip(want, want, strict=True)),
            "module": {key: f"module.{key}" for key in want},
            "gamma": {key: old_name(key) for key in want},
        }[layout]
        state = {names[key]: tensor for key, tensor in want.items()}
        torch.save(state, source / "pytorch_model.bin")
        (source / "model.safetensors").unlink()
    out = cli.output("convert", source, target)
    assert out == f"{source} -> {target}: config.json, model.safetensors\n"
    got = load_file(target / "model.safetensors")
    assert got.keys() == want.keys()
    assert all(torch.equal(got[key], want[key]) for key in want)
    assert cli("parity", target, "--head", "MaskedLM", *FAST).code == 0


def test_convert_changes_the_dtype_and_copies_the_tokenizer(
    cli: CommandLine, classifier: str, tmp_path: Path
) -> None:
    """Catches: `--dtype` that is ignored, a converted model without its tokenizer."""
    out = cli.output("convert", classifier, tmp_path / "x", "--dtype", "bfloat16")
    assert out.endswith(": config.json, model.safetensors, vocab.txt\n")
    weights = load_file(tmp_path / "x" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}


def test_convert_of_a_file_that_does_not_fit(
    cli: CommandLine, classifier: str, tmp_path: Path
) -> None:
    """Catches: a traceback for a checkpoint of another model."""
    save_file({"conv.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((Path(classifier) / "config.json").read_text())
    code, out, err = cli("convert", tmp_path, tmp_path / "x")
    assert (code, out) == (2, "")
    assert err.startswith("albert-torch convert: ")
    assert "conv.weight" in err
    assert "'./nowhere' is not a directory" in cli.error("convert", "./nowhere", tmp_path / "x")
    assert "required: DST" in cli.error("convert", classifier)


@pytest.fixture(params=[False, True], ids=["shared", "per-depth"])
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, bool]:
    """The adapter of a run on a base model, and whether each layer has its own."""
    base = save_word_model("AlbertForSequenceClassification", tmp_path / "base")
    model = AlbertForSequenceClassification.from_pretrained(base)
    add_lora(model, rank=2, per_depth=request.param)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.1)
    save_adapter(model, tmp_path / "run")
    AlbertTokenizer.from_pretrained(base).save_pretrained(tmp_path / "run")
    return tmp_path / "run", request.param


def test_merge_writes_a_plain_checkpoint(
    cli: CommandLine, adapter: tuple[Path, bool], tmp_path: Path
) -> None:
    """Catches: a merge that changes what the model says, or unshares layers without being told."""
    run, per_depth = adapter
    if per_depth:
        message = cli.error("merge", run, tmp_path / "out")
        assert "--expand" in message
        assert not (tmp_path / "out").exists()
    options = ["--expand"] if per_depth else []
    out = cli.output("merge", run, tmp_path / "out", *options)
    assert out.startswith(f"{run} -> {tmp_path / 'out'}: config.json, model.safetensors")
    assert cli("parity", tmp_path / "out", *FAST).code == 0
    cli.output("convert", run, tmp_path / "converted")
    merged = [tmp_path / name for name in ("out", "converted")]
    scores = [cli.output("classify", "the sea", "--model", directory) for directory in merged]
    assert scores[0] == scores[1]
    assert scores[0] != cli.output("classify", "the sea", "--model", tmp_path / "base")


def test_merge_needs_an_adapter_and_its_base_model(
    cli: CommandLine, adapter: tuple[Path, bool], classifier: str, tmp_path: Path
) -> None:
    """Catches: a traceback for a plain model; a base model that was moved and cannot be named."""
    run, _ = adapter
    message = cli.error("merge", classifier, tmp_path / "out")
    assert "there is no adapter" in message
    (tmp_path / "base").rename(tmp_path / "moved")
    assert str(tmp_path / "base") in cli.error("merge", run, tmp_path / "out", "--expand")
    cli.output("merge", run, tmp_path / "out", "--expand", "--base-model", tmp_path / "moved")
