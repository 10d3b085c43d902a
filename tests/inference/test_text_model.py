"""Batches of rows, and the memory they leave behind."""

import pytest

from albert_torch.inference import text_model


@pytest.mark.parametrize(
    ("lengths", "batch_tokens", "count"), [([3] * 9, 9, 0), ([400] * 9, 1200, 3), ([1025], 8, 1)]
)
def test_the_heap_is_trimmed_after_batches(monkeypatch, lengths, batch_tokens, count):
    """Catches: pieces of the heap that pile up from batch to batch; time lost on few tokens."""
    tokens_at_trim, tokens = [], []
    monkeypatch.setattr(text_model, "_trim_heap", lambda: tokens_at_trim.append(sum(tokens)))
    for batch in text_model.iter_batches(lengths, batch_tokens):
        tokens += [lengths[row] for row in batch]
    assert sum(tokens) == sum(lengths)
    assert len(tokens_at_trim) == count
    assert not count or tokens_at_trim[-1] == sum(lengths)  # also after the last batch
