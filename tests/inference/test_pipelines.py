"""Classification, masked words and question answering against the plain model."""

import itertools

import pytest
import torch

from albert_torch.inference import Encoder

TEXTS = ["", "a film", "the " * 90, "a film", "one, two", "the film is not very good, (yes)"]
WORDS = ["the", "a", "film", "is", "was", "not", "very", "good", ",", "."]

pytestmark = pytest.mark.assets


def test_classify(checkpoint):
    """Catches: labels of another text; sigmoid in place of softmax; names that are not the
    config's."""
    for problem_type, probabilities in (
        (None, lambda x: x.softmax(-1)),
        ("multi_label_classification", torch.sigmoid),
        ("regression", lambda x: x),
    ):
        folder, model = checkpoint(
            "AlbertForSequenceClassification",
            id2label={0: "no", 1: "so so", 2: "yes"},
            problem_type=problem_type,
        )
        encoder = Encoder.from_pretrained(folder)
        for text, labels in zip(TEXTS, encoder.classify(TEXTS), strict=True):
            inputs = encoder.tokenizer([text], max_length=64, truncation=True, return_tensors="pt")
            with torch.no_grad():
                logits = model(**inputs).logits[0]
            values = probabilities(logits).tolist()
            want = dict(zip(("no", "so so", "yes"), values, strict=True))
            assert labels == pytest.approx(want, abs=2e-5)
            assert list(labels.values()) == sorted(labels.values(), reverse=True)
    with pytest.raises(
        ValueError, match="needs an AlbertForMaskedLM, not an AlbertForSequenceClassification"
    ):
        encoder.fill_mask("a [MASK]")


def test_fill_mask(checkpoint):
    """Catches: the word of another mask; tokens in the wrong order; probabilities among the best
    few only."""
    folder, model = checkpoint("AlbertForPreTraining")
    encoder = Encoder.from_pretrained(folder)
    text = "the [MASK] was not [MASK]."
    batch = encoder.tokenizer([text], return_tensors="pt")
    with torch.no_grad():
        probabilities = model(**batch).prediction_logits[0].softmax(-1)
    mask_columns = (batch["input_ids"][0] == 4).nonzero().squeeze(1)
    predictions = encoder.fill_mask(text, top_k=3)
    assert len(predictions) == len(mask_columns) == 2
    for column, tokens in zip(mask_columns, predictions, strict=True):
        best = probabilities[column].topk(3)
        names = encoder.tokenizer.convert_ids_to_tokens(best.indices.tolist())
        assert [prediction.token for prediction in tokens] == names
        scores = [prediction.score for prediction in tokens]
        assert scores == pytest.approx(best.values.tolist(), abs=1e-6)
    with pytest.raises(ValueError, match=r"hold no \[MASK\]"):
        encoder.fill_mask("no mask")


CONTEXT = " ".join(f"word{i} {WORDS[i % 10]}" for i in range(60))


def windows_of(encoder, question, stride):
    """The windows of `CONTEXT`: (input_ids, token_type_ids, offsets) each."""
    windows = encoder.tokenizer(
        [(question, CONTEXT)],
        truncation="only_second",
        max_length=64,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    assert len(windows["input_ids"]) > 3
    return zip(
        windows["input_ids"], windows["token_type_ids"], windows["offset_mapping"], strict=True
    )


def test_answer_reads_every_window(checkpoint):
    """Catches: an answer in the question; an end before the start; an answer that is too long; a
    window that is skipped or shifted."""
    folder, model = checkpoint("AlbertForQuestionAnswering")
    encoder = Encoder.from_pretrained(folder)
    got = encoder.answer("who is it?", CONTEXT, stride=8, max_answer_length=4)
    spans = {}
    for ids, types, offsets in windows_of(encoder, "who is it?", stride=8):
        with torch.no_grad():
            output = model(torch.tensor([ids]), token_type_ids=torch.tensor([types]))
        inside = [i for i, segment in enumerate(types) if segment == 1 and ids[i] != 3]
        for i, j in itertools.product(inside, inside):
            if i <= j < i + 4:
                score = float(output.start_logits[0, i] + output.end_logits[0, j])
                spans.setdefault((offsets[i][0], offsets[j][1]), []).append(score)
    assert (got.start, got.end) == max(spans, key=lambda span: max(spans[span]))
    assert got.text == CONTEXT[got.start : got.end]
    scores = torch.tensor([score for scores in spans.values() for score in scores])
    assert got.score == pytest.approx(float(scores.softmax(0).max()), rel=1e-4)
    with pytest.raises(ValueError, match="no token that could be an answer"):
        encoder.answer("who?", "   ")


@pytest.mark.parametrize("windows", ["all", "last"])
def test_no_answer_competes_with_the_spans(checkpoint, monkeypatch, windows):
    """Catches: "no answer" without permission; a single window that decides about all of them."""
    folder, _ = checkpoint("AlbertForQuestionAnswering")
    encoder = Encoder.from_pretrained(folder)
    original = encoder.model.packed

    def with_high_cls_scores(*args, **options):
        output = original(*args, **options)
        cls_tokens = torch.tensor([0, *output.row_lengths[:-1]]).cumsum(0)
        output["start_logits"][cls_tokens] -= 50
        output["start_logits"][cls_tokens if windows == "all" else cls_tokens[-1:]] += 100
        return output

    monkeypatch.setattr(encoder.model, "packed", with_high_cls_scores)
    always = encoder.answer("who is it?", CONTEXT, stride=8)
    assert always.text
    allowed = encoder.answer("who is it?", CONTEXT, stride=8, allow_no_answer=True)
    if windows == "all":
        assert allowed[:3] == ("", 0, 0)
        assert allowed.score > 0.9
    else:  # the other windows are certain that there is an answer
        assert allowed[:3] == always[:3]
        assert allowed.score == pytest.approx(always.score, rel=1e-4)


@pytest.mark.parametrize("lowest", [-0.5, 0.5])
def test_the_answerability_head_decides_about_no_answer(checkpoint, monkeypatch, lowest):
    """Catches: [CLS] scores in place of the head's output; a window that is not the one most
    certain of an answer; "no answer" without permission."""
    folder, _ = checkpoint("AlbertForAnswerableQuestions")
    encoder = Encoder.from_pretrained(folder)
    original = encoder.model.packed

    def with_other_logits(*args, **options):
        output = original(*args, **options)
        logits = output["impossible_logits"]
        logits.copy_(torch.linspace(lowest, lowest + 2, len(logits)).roll(1))
        return output

    monkeypatch.setattr(encoder.model, "packed", with_other_logits)
    always = encoder.answer("who is it?", CONTEXT, stride=8)
    assert always.text
    probability = float(torch.tensor(lowest).sigmoid())
    allowed = encoder.answer("who is it?", CONTEXT, stride=8, allow_no_answer=True)
    if lowest > 0:
        assert allowed == ("", 0, 0, pytest.approx(probability, rel=1e-4))
    else:
        assert allowed[:3] == always[:3]
        assert allowed.score == pytest.approx(always.score * (1 - probability), rel=1e-4)
