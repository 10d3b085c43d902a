"""`Encoder` against the plain model, one text at a time."""

import itertools
import random

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import albert_torch
from albert_torch.finetuning.lora import add_lora, save_adapter
from albert_torch.inference import Encoder, text_model

WORDS = ["the", "a", "film", "is", "was", "not", "very", "good", ",", "."]
WORDS += ["film's", "2010,", "(yes)", "don't", "café"]
TEXTS = [
    "",
    "a film",
    "the " * 90,
    "a film",
    "one, two",
    *(" ".join(WORDS[:count]) for count in range(1, len(WORDS))),
]

pytestmark = pytest.mark.assets


def expected(model, tokenizer, texts, pooling, max_length=64):
    """The vectors of the plain model: one text at a time, no mask, no batch."""
    vectors = []
    for text in texts:
        inputs = tokenizer([text], truncation=True, max_length=max_length, return_tensors="pt")
        with torch.no_grad():
            output = model(**inputs)
        x = output.last_hidden_state[0]
        vectors.append(
            {"mean": x.mean(0), "cls": x[0], "max": x.amax(0), "pooler": output.pooler_output[0]}[
                pooling
            ]
        )
    return torch.stack(vectors).numpy()


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "pooler"])
def test_encode_equals_the_plain_model(base, pooling):
    """Catches: vectors in sorted order; padding that enters a mean; a text that is not truncated;
    an empty or repeated text that is lost."""
    folder, model = base
    encoder = Encoder.from_pretrained(folder, pooling=pooling)
    want = expected(model, encoder.tokenizer, TEXTS, pooling)
    got = encoder.encode(TEXTS)
    assert got.dtype == np.float32
    assert np.abs(got - want).max() < 2e-5
    order = random.Random(0).sample(range(len(TEXTS)), len(TEXTS))
    shuffled = encoder.encode([TEXTS[i] for i in order], batch_tokens=30)
    assert np.abs(shuffled - want[order]).max() < 2e-5
    normalized = F.normalize(torch.tensor(want), dim=-1).numpy()
    assert np.abs(encoder.encode(TEXTS, normalize_embeddings=True) - normalized).max() < 2e-5
    assert encoder.encode("a film").shape == (48,)
    assert encoder.encode([]).shape == (0, 48)


def test_pairs_and_max_length(base):
    """Catches: a second segment that is lost; `max_length` that is not passed on."""
    folder, model = base
    pairs = [("a film", "not very good"), ("the " * 40, "bad"), ("", "a")]
    encoder = Encoder.from_pretrained(folder, max_length=16)
    want = expected(model, encoder.tokenizer, pairs, "mean", 16)
    assert np.abs(encoder.encode(pairs) - want).max() < 2e-5
    with pytest.raises(ValueError, match="max_length=65 must be from 3 to 64"):
        Encoder.from_pretrained(folder, max_length=65)
    with pytest.raises(ValueError, match="pooling='average' is not known"):
        Encoder.from_pretrained(folder, pooling="average")
    with pytest.raises(ValueError, match="batch_tokens=0"):
        encoder.encode(["a"], batch_tokens=0)


def test_encode_stream_reads_little_ahead(base, monkeypatch):
    """Catches: a generator that first reads the whole corpus."""
    monkeypatch.setattr(text_model, "WINDOW_TEXTS", 4)
    encoder, read = Encoder.from_pretrained(base[0]), []
    endless = (read.append(i) or TEXTS[i % len(TEXTS)] for i in itertools.count())
    vectors = list(itertools.islice(encoder.encode_stream(endless), 10))
    assert np.abs(np.stack(vectors) - encoder.encode(TEXTS[:10])).max() < 2e-5
    assert len(read) <= 20


def test_a_missing_pooler_is_an_error(checkpoint):
    """Catches: vectors from a pooler that was initialised a moment ago."""
    folder, model = checkpoint("AlbertForMaskedLM")
    with pytest.raises(ValueError, match=r"has no pooler\.bias, pooler\.weight"):
        Encoder.from_pretrained(folder, pooling="pooler")
    tokenizer = Encoder.from_pretrained(folder).tokenizer
    with pytest.raises(ValueError, match="AlbertForMaskedLM has no pooler"):
        Encoder(model, tokenizer, pooling="pooler")


def test_a_dtype_may_be_given_by_name(base):
    """Catches: a name that is not understood, or that does not select what it names."""
    folder, model = base
    tokenizer = Encoder.from_pretrained(folder).tokenizer
    named = Encoder(model, tokenizer, dtype="int8").encode(TEXTS)
    assert np.array_equal(named, Encoder(model, tokenizer, dtype=torch.int8).encode(TEXTS))
    assert not np.array_equal(named, Encoder(model, tokenizer, dtype="float32").encode(TEXTS))


@pytest.mark.parametrize(
    "name",
    [
        "AlbertModel",
        "AlbertForMaskedLM",
        "AlbertForSequenceClassification",
        "AlbertForTokenClassification",
        "AlbertForQuestionAnswering",
        "AlbertForAnswerableQuestions",
        "AlbertForMultipleChoice",
    ],
)
def test_the_class_is_the_one_that_was_saved(checkpoint, name):
    """Catches: a class that `from_pretrained` does not know, whose head is dropped."""
    encoder = Encoder.from_pretrained(checkpoint(name)[0])
    assert encoder.model.model_class.__name__ == name


def test_a_pretraining_checkpoint_is_a_masked_language_model(checkpoint):
    """Catches: a model without `fill_mask`."""
    encoder = Encoder.from_pretrained(checkpoint("AlbertForPreTraining")[0])
    assert encoder.model.model_class is albert_torch.AlbertForMaskedLM


def test_an_adapter_is_loaded_with_its_base_model(base, tmp_path):
    """Catches: a LoRA directory that is refused, or whose deltas are dropped."""
    folder, _ = base
    torch.manual_seed(0)
    tuned = albert_torch.AlbertForSequenceClassification.from_pretrained(folder)
    tuned.name_or_path = str(folder)
    add_lora(tuned, 4, 8.0, False)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    save_adapter(tuned, tmp_path)
    (tmp_path / "spiece.model").write_bytes((folder / "spiece.model").read_bytes())
    encoder = Encoder.from_pretrained(tmp_path)
    batch = encoder.tokenizer(["a film"], return_tensors="pt")
    with torch.no_grad():
        want = tuned.eval()(**batch).logits[0].softmax(-1).tolist()
    (labels,) = encoder.classify(["a film"])
    assert labels == pytest.approx({"LABEL_0": want[0], "LABEL_1": want[1]}, abs=2e-5)
