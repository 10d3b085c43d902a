"""`PackedBatch`: packing, unpacking and chunks; and packed rows against the padded batch."""

import pytest
import torch
from helpers.constants import SHARED, TINY
from helpers.inference import model_inputs, rows_of
from helpers.reference import CLASS_NAMES, pair, worst

from albert_torch.inference import encoder as packed_encoder
from albert_torch.inference import optimize, scheduling
from albert_torch.inference.packed_batch import PackedBatch


def embed(input_ids, token_type_ids, position_ids):
    """Embeddings from which each token's id, segment and position can be read."""
    return torch.stack([input_ids, token_type_ids, position_ids], dim=-1).float()


def pack(rows, token_type_ids=None, needed_columns=None):
    return PackedBatch.from_rows(
        rows, token_type_ids, needed_columns, embed=embed, device=torch.device("cpu")
    )


ROWS = [[11, 12, 13], [21], [31, 32], [41]]


def test_rows_are_packed_by_length_and_unpacked_in_order():
    """Catches: an unstable sort; ids, segments or positions of another token; rows that come back
    in sorted order."""
    batch = pack(ROWS, [[0, 0, 1], [1], [0, 1], [0]])
    assert batch.row_lengths == [1, 1, 2, 3]
    assert batch.row_indices.tolist() == [1, 3, 2, 2, 0, 0, 0]
    assert batch.embeddings.tolist() == [
        [21, 1, 0], [41, 0, 0], [31, 0, 0], [32, 1, 1], [11, 0, 0], [12, 0, 1], [13, 1, 2],
    ]  # fmt: skip
    ids = batch.to_rows(batch.embeddings[:, 0])
    assert ids.tolist() == [11, 12, 13, 21, 31, 32, 41]
    assert batch.first_tokens(batch.embeddings[:, 0]).tolist() == [11, 21, 31, 41]


def test_only_needed_tokens_are_unpacked():
    """Catches: columns counted in another row; first tokens that are not there."""
    batch = pack(ROWS, needed_columns=[[0, 2], [], [1], [0]])
    values = batch.embeddings[batch.token_mask][:, 0]
    assert batch.num_results == 4
    assert batch.to_rows(values).tolist() == [11, 13, 32, 41]
    assert batch.first_tokens(values) is None
    batch = pack(ROWS, needed_columns=[[0, 2], [0], [0], [0]])
    values = batch.embeddings[batch.token_mask][:, 0]
    assert batch.first_tokens(values).tolist() == [11, 21, 31, 41]


def test_a_padded_batch_comes_back_as_it_was():
    """Catches: padding that is not zero; a mask that is taken for a length; rows without tokens."""
    mask = torch.tensor([[0, 1, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]])
    embeddings = torch.arange(1.0, 33.0).view(4, 4, 2)
    batch = PackedBatch.from_padded(embeddings, mask)
    assert batch.row_lengths == [1, 2, 3]
    assert batch.row_indices.tolist() == [3, 1, 1, 0, 0, 0]
    assert batch.columns.tolist() == [0, 0, 3, 1, 2, 3]
    assert torch.equal(batch.to_padded(batch.embeddings), embeddings * mask[..., None])
    first = batch.first_tokens(batch.embeddings)
    assert torch.equal(first, embeddings[:, 0] * mask[:, :1])
    only_first = PackedBatch.from_padded(embeddings, mask, first_tokens_only=True)
    values = only_first.embeddings[only_first.token_mask]
    assert only_first.num_results == 2
    assert torch.equal(only_first.first_tokens(values), first)


def test_chunks_know_where_their_results_belong():
    """Catches: rows that are taken for neighbours; padding that is written to the results."""
    batch = pack(ROWS, needed_columns=[[0, 2], [], [1], [0]])
    chunk = batch.chunk([0, 3], padding_to_block=lambda size: 2)  # 21; 11, 12, 13
    assert chunk.embeddings[:, 0].tolist() == [21, 11, 12, 13, 21, 11]
    assert chunk.row_lengths == [1, 3, 2]
    assert (chunk.num_tokens, chunk.num_results) == (4, 2)
    assert chunk.tokens.tolist() == [0, 4, 5, 6]
    assert chunk.needed.tolist() == [1, 3, 1, 3]  # 11 and 13, and padding
    results = torch.zeros(batch.num_results)
    results[chunk.results] = chunk.embeddings[chunk.needed][: chunk.num_results, 0]
    assert batch.to_rows(results).tolist() == [11, 13, 0, 0]
    whole = pack(ROWS).chunk([1, 2], padding_to_block=lambda size: 0)
    assert whole.tokens == whole.results == slice(1, 4)
    assert whole.needed is None


@pytest.mark.parametrize("name", CLASS_NAMES[:-1])
def test_packed_rows_return_what_the_batch_returns(name, monkeypatch):
    """Catches: tokens or rows that come back in sorted order; a chunk that cuts a row; a lost
    segment."""
    monkeypatch.setattr(scheduling, "CHUNK_TOKENS", 10)  # three chunks
    _, ours = pair(name, TINY)
    inputs = model_inputs(name, TINY, lengths=(7, 2, 9, 7))
    fast = optimize(ours)
    padded, packed = fast(**inputs), fast.packed(*rows_of(inputs))
    is_token = inputs["attention_mask"].bool()
    assert set(packed.values) == set(padded)
    for key, value in padded.items():
        by_token = value.shape[:2] == is_token.shape
        assert worst(packed[key], value[is_token] if by_token else value) < 2e-6
        if by_token:
            assert [len(row) for row in packed.split(key)] == [7, 2, 9, 7]


def test_only_the_needed_tokens_are_computed_in_the_last_layer(monkeypatch):
    """Catches: a last layer that computes what nobody reads; needed columns of another row."""
    outputs = []
    original = packed_encoder.PackedLayer.__call__
    monkeypatch.setattr(
        packed_encoder.PackedLayer,
        "__call__",
        lambda self, *args: outputs.append(original(self, *args)) or outputs[-1],
    )
    _, ours = pair("AlbertForMaskedLM", SHARED)
    rows = [[5, 6, 7, 8, 9, 10], [11, 12], [13, 14, 15]]
    fast = optimize(ours)
    every = fast.packed(rows)["logits"]
    needed = fast.packed(rows, needed_columns=[[1, 4], [], [2]])
    assert worst(needed["logits"], every[[1, 4, 10]]) < 2e-6
    assert needed.row_lengths == [2, 0, 1]
    nothing = fast.packed(rows[:1], needed_columns=[[]])
    assert nothing["logits"].shape == (0, SHARED["vocab_size"])
    num_layers = SHARED["num_hidden_layers"]
    assert [len(x) for x in outputs[num_layers:][:6]] == [11] * 5 + [3]
    _, classifier = pair("AlbertForSequenceClassification", SHARED)
    outputs.clear()
    optimize(classifier).packed(rows)
    assert [len(x) for x in outputs] == [11] * 5 + [3]


def test_outputs_of_missing_first_tokens_are_left_out():
    """Catches: a pooled output that is computed from a token which was not computed."""
    _, ours = pair("AlbertForPreTraining", SHARED)
    fast = optimize(ours)
    output = fast.packed([[5, 6, 7], [8, 9]], needed_columns=[[0, 1], [1]])
    assert set(output.values) == {"prediction_logits"}
    output = fast.packed([[5, 6, 7], [8, 9]], needed_columns=[[0, 1], [0]])
    assert worst(output["sop_logits"], fast.packed([[5, 6, 7], [8, 9]])["sop_logits"]) < 2e-6
