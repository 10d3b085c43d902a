"""Trainer on the plain models, and on registered ones where it must save tied weights."""

from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from helpers.clients import shape  # noqa: E402
from helpers.constants import ASSETS  # noqa: E402
from helpers.reference import CLASS_NAMES  # noqa: E402
from transformers import Trainer, TrainingArguments  # noqa: E402

import albert_torch  # noqa: E402


def arguments(folder: Path, **options: Any) -> Any:
    defaults = {
        "per_device_train_batch_size": 4,
        "max_steps": 4,
        "logging_steps": 1,
        "learning_rate": 1e-2,
    }
    quiet = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "seed": 0}
    return TrainingArguments(output_dir=str(folder), **{**defaults, **quiet, **options})


def losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def classifier() -> Any:
    torch.manual_seed(0)
    return albert_torch.AlbertForSequenceClassification(
        albert_torch.AlbertConfig(**shape(150), initializer_range=0.2)
    )


def accuracy(prediction: Any) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def test_it_trains_evaluates_saves_the_best_and_predicts(
    rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Catches: outputs, labels or signatures that Trainer cannot read; a lost checkpoint."""
    every = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 8, "save_steps": 8}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "accuracy"}
    args = arguments(tmp_path, max_steps=40, **every, **best)
    # Trainer drops the additional key, because `forward` has no such argument.
    extra = [{**row, "not_an_argument": 1} for row in rows]
    data = {"train_dataset": extra, "eval_dataset": extra}
    trainer = Trainer(classifier(), args, **data, compute_metrics=accuracy)
    trainer.train()
    history = losses(trainer)
    assert history[-1] < 0.3 < 0.6 < history[0]
    best_accuracy = trainer.state.best_metric
    assert trainer.evaluate()["eval_accuracy"] == best_accuracy
    predicted = trainer.predict(extra)
    assert predicted.predictions.shape == (len(rows), 2)
    assert predicted.metrics["test_accuracy"] == best_accuracy
    resumed = Trainer(classifier(), args, **data, compute_metrics=accuracy)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-24"))
    assert losses(resumed) == history
    trainer.model.save_pretrained(tmp_path / "out")
    back = albert_torch.AlbertForSequenceClassification.from_pretrained(tmp_path / "out")
    batch = {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}
    torch.testing.assert_close(
        back(**batch).logits, torch.from_numpy(predicted.predictions), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("name", ["gradient_checkpointing", "activation_checkpointing"])
def test_gradient_checkpointing_changes_no_loss(
    name: str, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Catches: an option of Trainer that does not reach the encoder, or changes the gradients."""
    if name not in TrainingArguments.__dataclass_fields__:
        pytest.skip(f"this transformers has no {name}")
    histories = []
    for options in ({}, {name: True}):
        trainer = Trainer(classifier(), arguments(tmp_path, **options), train_dataset=rows)
        trainer.train()
        assert trainer.model.is_gradient_checkpointing == bool(options)
        histories.append(losses(trainer))
    assert histories[0] == pytest.approx(histories[1], abs=1e-6)


@pytest.mark.parametrize("kind", ["gradient", "activation"])
def test_options_of_checkpointing_that_we_lack_are_refused(kind: str) -> None:
    """Catches: `offload` or `every_n_layers` that are ignored, or refused at their defaults."""
    enable = getattr(classifier(), f"{kind}_checkpointing_enable")
    for options in (
        {"every_n_layers": 2},
        {"offload": True},
        {f"{kind}_checkpointing_kwargs": {"use_reentrant": True}},
    ):
        with pytest.raises(ValueError, match="checkpoint"):
            enable(**options)
    enable(**{f"{kind}_checkpointing_kwargs": None, "every_n_layers": 1, "offload": False})


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_the_labels_are_found(name: str, tmp_path: Path) -> None:
    """Catches: an argument that Trainer does not recognise as a label, so that it has no loss."""
    config = shape(61)
    ours = getattr(albert_torch, name)(albert_torch.AlbertConfig(**config))
    theirs = getattr(transformers, name)(transformers.AlbertConfig(**config))
    ours, theirs = (Trainer(model, arguments(tmp_path)).label_names for model in (ours, theirs))
    assert ours == theirs
    if name == "AlbertForQuestionAnswering":
        assert ours == ["start_positions", "end_positions"]


def test_masked_words_train_and_save_with_a_tied_decoder(
    checkpoint: Path, registered: None, tmp_path: Path
) -> None:
    """Catches: shared memory that safetensors refuses; a tie that saving or loading loses."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    model = transformers.AutoModelForMaskedLM.from_pretrained(checkpoint)
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.3)
    data = [tokenizer("a warm and funny film about growing old")] * 16
    trainer = Trainer(
        model, arguments(tmp_path, max_steps=8, save_steps=8), collator, train_dataset=data
    )
    trainer.train()
    assert losses(trainer)[-1] < losses(trainer)[0]
    back, info = albert_torch.AlbertForMaskedLM.from_pretrained(
        tmp_path / "checkpoint-8", output_loading_info=True
    )
    assert not any(info.values())
    assert back.predictions.decoder.weight is back.albert.embeddings.word_embeddings.weight
    assert all(
        torch.equal(value, model.state_dict()[name]) for name, value in back.state_dict().items()
    )
    _, info = transformers.AlbertForMaskedLM.from_pretrained(
        tmp_path / "checkpoint-8", output_loading_info=True
    )
    assert not any(info.values())


@pytest.mark.assets
def test_the_losses_are_those_of_transformers_model(assets: Path, tmp_path: Path) -> None:
    """Catches: anything that Trainer finds in one of the models only, in 50 steps on SST-2."""
    assert assets == ASSETS
    tokenizer = albert_torch.tokenization.AlbertTokenizer.from_pretrained(
        assets / "assets" / "spiece.model"
    )
    lines = (assets / "data" / "SST-2" / "train.tsv").read_text().splitlines()[1:401]
    texts, targets = zip(*(line.rsplit("\t", 1) for line in lines), strict=True)
    encoded = tokenizer(list(texts), truncation=True, max_length=32, padding="max_length")
    data = [
        {name: encoded[name][i] for name in ("input_ids", "attention_mask", "token_type_ids")}
        | {"labels": int(target)}
        for i, target in enumerate(targets)
    ]
    config = {**shape(len(tokenizer)), "classifier_dropout_prob": 0.0}
    torch.manual_seed(0)
    theirs = transformers.AlbertForSequenceClassification(
        transformers.AlbertConfig(**config)
    ).double()
    ours = albert_torch.AlbertForSequenceClassification(
        albert_torch.AlbertConfig(**config)
    ).double()
    ours.load_state_dict(theirs.state_dict())
    args = arguments(
        tmp_path,
        max_steps=50,
        per_device_train_batch_size=16,
        save_strategy="no",
        learning_rate=1e-3,
    )
    histories = []
    for model in (ours, theirs):
        trainer = Trainer(model, args, train_dataset=data)
        assert next(trainer.model.parameters()).dtype == torch.float64
        trainer.train()
        histories.append(losses(trainer))
    assert len(histories[0]) == 50
    assert len(set(histories[0])) > 40
    assert histories[0] == pytest.approx(histories[1], abs=1e-6, rel=0)
