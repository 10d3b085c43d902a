"""SentencePiece models: what is read, against the sentencepiece package; what is refused."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
from helpers.google_tokenizer import google_ids, train_sentencepiece

from albert_torch.tokenization.sentencepiece import SentencePiece, ends_in_digit_comma


def test_pieces_scores_and_types_equal_sentencepiece(
    model_file: Path, processor: "sentencepiece.SentencePieceProcessor"
) -> None:
    """Catches: a wrong field number or number format, control pieces found in text."""
    model = SentencePiece.from_bytes(model_file.read_bytes(), "spiece.model")
    ids = range(processor.get_piece_size())
    assert model.pieces == [(processor.id_to_piece(i), processor.get_score(i)) for i in ids]
    assert model.unk_id == processor.unk_id()
    controls = [i for i in ids if processor.is_control(i) or processor.is_unknown(i)]
    assert model.controls == {processor.id_to_piece(i) for i in controls}
    assert len(model.charsmap) > 100_000


@pytest.mark.parametrize("text", ["▁a", "▁a a▁b", "▁ ▁▁x", "a ▁the cat", "the ▁▁the", "a▁the"])
def test_marks_of_spaces_in_text_equal_sentencepiece(text: str) -> None:
    """Catches: a word that starts with the mark of a space and gets no mark of its own."""
    # Without a table of characters; that of the published models replaces the mark by a space.
    data = train_sentencepiece(normalization_rule_name="identity")
    backend = SentencePiece.from_bytes(data, "spiece.model").pipeline(True, False, True)
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    assert backend.encode(text).tokens == processor.encode(text, out_type=str)


@pytest.mark.assets
def test_lowered_scores_alone_are_not_the_comma_rule(assets: Path) -> None:
    """Catches: dropping `ExactWords`. This is the example that makes it necessary."""
    data = (assets / "assets" / "spiece.model").read_bytes()
    backend = SentencePiece.from_bytes(data, "spiece.model").pipeline(True, False, True)
    assert backend.encode("21,007").tokens == ["▁2", "1,0", "07"]
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    pieces = [processor.id_to_piece(i) for i in google_ids(processor, "21,007")]
    assert pieces == ["▁21", ",", "00", "7"]


def test_a_model_survives_saving(small_model: bytes) -> None:
    """Catches: lowered scores that are lowered again with every save."""
    model = SentencePiece.from_bytes(small_model, "spiece.model")
    assert any(ends_in_digit_comma(piece) for piece, _ in model.pieces)
    backend = model.pipeline(True, False, True)
    backend.add_special_tokens(sorted(model.controls))
    again = SentencePiece.from_json(json.loads(backend.to_str()))
    assert again is not None
    assert again.unk_id == model.unk_id
    assert again.controls == model.controls
    assert again.charsmap == model.charsmap
    assert [piece for piece, _ in again.pieces] == [piece for piece, _ in model.pieces]
    scores = [score for _, score in model.pieces]
    assert [score for _, score in again.pieces] == pytest.approx(scores, abs=1e-12)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", r"0 bytes.* it has 0 pieces"),
        (lambda data: data[:-3], "ends in the middle"),
        (lambda data: data[: len(data) // 2], "ends in the middle|of type unknown"),
        (
            lambda data: b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + data,
            "ends in the middle of a field",
        ),
        (lambda data: b"\xff" * 40, "no protobuf number starts"),
        (lambda data: b"\x0f" + data, "no protobuf field starts"),
        (
            lambda data: b"version https://git-lfs.github.com/spec/v1\n",
            "not a SentencePiece unigram model",
        ),
        (lambda data: b"\x08\x05" + data, "not a SentencePiece unigram model"),
        (lambda data: data + b"\x0a\x07\x0a\x05[CLS]", "occurs twice"),
        (
            lambda data: data + b"\x0a\x02\x0a\x00",
            "piece 90 is empty or its score is not a finite number",
        ),
        (
            lambda data: data + b"\x1a\x06\x12\x04\xff\xff\xff\xff",
            "not a SentencePiece unigram model: .*charsmap",
        ),
        (lambda data: data + b"\x0a\x04\x0a\x02\xff\xfe", "not a SentencePiece unigram model"),
    ],
)
def test_damaged_files_are_refused(
    small_model: bytes, damage: Callable[[bytes], bytes], message: str
) -> None:
    """Catches: an IndexError, an endless loop, gigabytes reserved because a size says so."""
    with pytest.raises(ValueError, match=message):
        SentencePiece.from_bytes(damage(small_model), "spiece.model")


def test_every_damaged_file_is_read_or_refused(small_model: bytes) -> None:
    """Catches: any other exception, with random bytes and with random changes, as in fuzzing."""
    random.seed(2)
    head = small_model[:400] + small_model[-3000:]
    messages = []
    for _ in range(2000):
        data = bytearray(head if random.random() < 0.8 else random.randbytes(40))
        for _ in range(random.randrange(1, 6)):
            data[random.randrange(len(data))] = random.randrange(256)
        try:
            SentencePiece.from_bytes(bytes(data), "spiece.model")
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 1000
    assert all("not a SentencePiece unigram model" in message for message in messages)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "bpe"}, "its type is BPE, and ALBERT's is unigram"),
        ({"model_type": "char", "vocab_size": 50, "hard_vocab_limit": False}, "its type is char"),
        ({"byte_fallback": True, "vocab_size": 380}, "its byte_fallback is 1, and ALBERT's is 0"),
        ({"add_dummy_prefix": False}, "its add_dummy_prefix is 0, and ALBERT's is 1"),
    ],
)
def test_other_models_are_refused(options: dict[str, object], message: str) -> None:
    """Catches: wrong ids from a BPE model, or from one with other settings."""
    with pytest.raises(ValueError, match=message):
        SentencePiece.from_bytes(train_sentencepiece(**options), "spiece.model")


@pytest.mark.parametrize(
    ("piece", "is_cut"),
    [
        ("▁1,", True),
        ("21,", True),
        ("²,", True),
        ("a,", False),
        ("▁,", False),
        (",", False),
        ("1", False),
    ],
)
def test_only_a_comma_after_a_digit_is_cut_off(piece: str, is_cut: bool) -> None:
    """Catches: the rule applied to letters or to a lone comma; Google's code calls `isdigit`."""
    assert ends_in_digit_comma(piece) is is_cut
