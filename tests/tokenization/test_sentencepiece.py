"""Reading a SentencePiece model, and the exact way: against the sentencepiece package, and damaged files."""

import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, pre_tokenizers

from albert_torch.tokenization.exact_words import ExactWords
from albert_torch.tokenization.sentencepiece import SentencePiece, ends_in_digit_comma

sentencepiece = pytest.importorskip("sentencepiece")

SPECIAL = {
    "pad_id": 0,
    "unk_id": 1,
    "bos_id": -1,
    "eos_id": -1,
    "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
}


def train(**options: object) -> bytes:
    """A small model of sentences with numbers and repeats, so that commas and ties occur."""
    random.seed(0)
    text = "the cat sat on a mat hoho hahaha aaa zzz 66 666 1,000 2010, 1999, 7, in and of it (was) not"
    words = text.split()
    lines = (
        " ".join(random.choices(words, k=9)) + f" {random.randrange(99)},{random.randrange(999)}"
        for _ in range(900)
    )
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=out, minloglevel=2, num_threads=1,
        **{"vocab_size": 90, "user_defined_symbols": ["(", ")"], **SPECIAL, **options},
    )  # fmt: skip
    return out.getvalue()


@pytest.fixture(scope="session")
def small() -> bytes:
    return train()


@pytest.fixture(params=["small", pytest.param("published", marks=pytest.mark.assets)])
def data(request: pytest.FixtureRequest, small: bytes) -> bytes:
    if request.param == "small":
        return small
    return (request.getfixturevalue("assets") / "assets" / "spiece.model").read_bytes()


def google(processor: "sentencepiece.SentencePieceProcessor", text: str) -> list[int]:
    """SentencePiece and the comma rule, written from the description of encode_pieces in google-research/albert."""
    pieces: list[str] = []
    for piece in processor.encode(text, out_type=str):
        if len(piece) < 2 or piece[-1] != "," or not piece[-2].isdigit():
            pieces.append(piece)
            continue
        number = processor.encode(piece[:-1].replace("▁", ""), out_type=str)
        if piece[0] != "▁" and number[0][0] == "▁":
            number = number[1:] if len(number[0]) == 1 else [number[0][1:], *number[1:]]
        pieces += [*number, ","]
    return [processor.piece_to_id(piece) for piece in pieces]


def exact(model: SentencePiece) -> Tokenizer:
    tokenizer = model.pipeline(True, False, True)
    stages = [tokenizer.pre_tokenizer, pre_tokenizers.PreTokenizer.custom(ExactWords(model))]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(stages)
    return tokenizer


def numbers(count: int) -> list[str]:
    """Random numeric texts, long and short, rich in commas and repeated digits."""
    random.seed(1)
    texts = []
    for _ in range(count):
        words = []
        for _ in range(random.choice((1, 1, 2, 25))):
            kind = random.random()
            if kind < 0.5:
                words.append(f"{random.randrange(1, 32)},{random.randrange(1000):03}")
            elif kind < 0.7:
                words.append(f"{random.randrange(1910, 2019)},{random.randrange(2019)}")
            else:
                words.append("".join(random.choices("0166677,,", k=random.randrange(1, 9))))
        texts.append(" ".join(words))
    return texts


def test_pieces_scores_and_types_equal_sentencepiece(data: bytes) -> None:
    """Kills: a field number off by one, scores as double, control pieces taken for text, a lost character map."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    model = SentencePiece.from_bytes(data, "spiece.model")
    ids = range(processor.get_piece_size())
    assert model.pieces == [(processor.id_to_piece(i), processor.get_score(i)) for i in ids]
    assert model.unk_id == processor.unk_id()
    special = {
        processor.id_to_piece(i) for i in ids if processor.is_control(i) or processor.is_unknown(i)
    }
    assert model.controls == special
    assert len(model.charsmap) > 100_000


def test_exact_way_equals_sentencepiece_and_the_comma_rule(data: bytes) -> None:
    """Kills: float64 sums (ties), a score per word instead of per text, -0.1 for symbols, unknowns that do not fuse."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    tokenizer = exact(SentencePiece.from_bytes(data, "spiece.model"))
    texts = [
        *numbers(1500),
        "the cat (sat) 漢字 on 漢漢a 2010,",
        "666666 hahaha hohoho, aaaaaa (1,000) ((7,7)",
    ]
    assert [e.ids for e in tokenizer.encode_batch(texts)] == [
        google(processor, text) for text in texts
    ]


def test_rows_without_suspects_need_no_exact_way(data: bytes) -> None:
    """Kills: a piece that hides a cut comma, or a tie, missing from the suspects; suspects that are never met."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    model = SentencePiece.from_bytes(data, "spiece.model")
    suspects = ExactWords(model).suspects
    texts = numbers(4000)
    rows = [e.ids for e in model.pipeline(True, False, True).encode_batch_fast(texts)]
    certain = [suspects.isdisjoint(row) for row in rows]
    assert [row for row, sure in zip(rows, certain, strict=True) if sure] == [
        google(processor, text) for text, sure in zip(texts, certain, strict=True) if sure
    ]
    assert 0 < sum(certain) < len(texts)


@pytest.mark.assets
def test_lowered_scores_alone_are_not_the_comma_rule(assets: Path) -> None:
    """Kills: dropping the exact way. It holds the counter-example that makes it necessary."""
    data = (assets / "assets" / "spiece.model").read_bytes()
    lowered = SentencePiece.from_bytes(data, "spiece.model").pipeline(True, False, True)
    assert lowered.encode("21,007").tokens == ["▁2", "1,0", "07"]
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    assert [processor.id_to_piece(i) for i in google(processor, "21,007")] == [
        "▁21",
        ",",
        "00",
        "7",
    ]


def test_from_json_gives_back_the_model(small: bytes) -> None:
    """Kills: lowered scores kept as they are, so that a second save lowers them again."""
    model = SentencePiece.from_bytes(small, "spiece.model")
    tokenizer = model.pipeline(True, False, True)
    tokenizer.add_special_tokens(sorted(model.controls))
    again = SentencePiece.from_json(json.loads(tokenizer.to_str()))
    assert again is not None
    assert (again.unk_id, again.controls, again.charsmap) == (
        model.unk_id,
        model.controls,
        model.charsmap,
    )
    assert [piece for piece, _ in again.pieces] == [piece for piece, _ in model.pieces]
    assert [score for _, score in again.pieces] == pytest.approx(
        [score for _, score in model.pieces], abs=1e-12
    )
    assert any(ends_in_digit_comma(piece) for piece, _ in model.pieces)


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
        (lambda data: data + b"\x0a\x02\x0a\x00", "piece 90 is empty or its score is not a finite number"),
        (
            lambda data: data + b"\x1a\x06\x12\x04\xff\xff\xff\xff",
            "not a SentencePiece unigram model: .*charsmap",
        ),
        (lambda data: data + b"\x0a\x04\x0a\x02\xff\xfe", "not a SentencePiece unigram model"),
    ],
)
def test_damaged_files_are_refused(
    small: bytes, damage: Callable[[bytes], bytes], message: str
) -> None:
    """Kills: IndexError, an endless loop, or gigabytes asked for because a length field says so."""
    with pytest.raises(ValueError, match=message):
        SentencePiece.from_bytes(damage(small), "spiece.model")


def test_every_short_file_is_read_or_refused(small: bytes) -> None:
    """Kills: any other exception. Random bytes, and the file with bytes changed, as a fuzzer would."""
    random.seed(2)
    head = small[:400] + small[-3000:]
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
def test_other_kinds_of_model_are_refused(options: dict[str, object], message: str) -> None:
    """Kills: wrong ids, in silence, from a BPE model or one with other settings."""
    with pytest.raises(ValueError, match=message):
        SentencePiece.from_bytes(train(**options), "spiece.model")


@pytest.mark.parametrize(
    ("piece", "cut"),
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
def test_only_a_comma_after_a_digit_is_cut_off(piece: str, cut: bool) -> None:
    """Kills: the rule applied to letters, or to a comma alone (the original asks `isdigit`)."""
    assert ends_in_digit_comma(piece) is cut
