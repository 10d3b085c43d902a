"""sentence-transformers on the registered `AutoModel`."""

from pathlib import Path

import pytest
import torch

sentence_transformers = pytest.importorskip("sentence_transformers")
datasets = pytest.importorskip("datasets")

from helpers.clients import SENTENCES, unregister  # noqa: E402
from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss  # noqa: E402

import albert_torch  # noqa: E402

TEXTS = [text for text, _ in SENTENCES]


def test_it_encodes_trains_saves_and_loads(
    checkpoint: Path, registered: None, tmp_path: Path
) -> None:
    """Catches: an output that pooling cannot read, a trainer that refuses our model."""
    model = sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu")
    assert isinstance(model[0].auto_model, albert_torch.AlbertModel)
    first = model.encode(TEXTS, convert_to_tensor=True)
    assert first.shape == (len(TEXTS), 24)
    pairs = {"sentence1": TEXTS, "sentence2": TEXTS[1:] + TEXTS[:1], "score": [0.0] * len(TEXTS)}
    trainer = sentence_transformers.SentenceTransformerTrainer(
        model=model,
        args=sentence_transformers.SentenceTransformerTrainingArguments(
            output_dir=str(tmp_path / "run"),
            max_steps=6,
            learning_rate=1e-2,
            logging_steps=1,
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_dict(pairs),
        loss=CosineSimilarityLoss(model),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    trained = model.encode(TEXTS, convert_to_tensor=True)
    assert not torch.allclose(trained, first, atol=1e-3)
    model.save_pretrained(str(tmp_path / "saved"))
    back = sentence_transformers.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert isinstance(back[0].auto_model, albert_torch.AlbertModel)
    torch.testing.assert_close(back.encode(TEXTS, convert_to_tensor=True), trained)
    unregister()
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert not isinstance(theirs[0].auto_model, albert_torch.AlbertModel)
    torch.testing.assert_close(
        theirs.encode(TEXTS, convert_to_tensor=True), trained, rtol=0, atol=1e-5
    )
