"""checkpoint.py: files that are whole, broken, hostile or of another model, all made here."""

import json
import logging
import os
import random
import shutil
import struct
import warnings

import pytest
import torch
from helpers.constants import SHARED
from safetensors.torch import load_file, save_file

from albert_torch import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertModel,
    CheckpointError,
)
from albert_torch.checkpoints.matching import classes_filled, fit
from albert_torch.checkpoints.reader import WEIGHT_FILES, read_state_dict
from albert_torch.hub import Source

CONFIG = {**SHARED, "num_hidden_layers": 2}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An AlbertForPreTraining as safetensors; not to be written to."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("saved")
    AlbertForPreTraining(AlbertConfig(**CONFIG)).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of `saved` to spoil."""
    return shutil.copytree(saved, tmp_path / "copy")


def weights(folder):
    return load_file(folder / "model.safetensors")


def rewrite(folder, state):
    (folder / "model.safetensors").unlink()
    save_file(state, folder / "model.safetensors")


def as_pickle(folder, **options):
    torch.save(weights(folder), folder / "pytorch_model.bin", **options)
    (folder / "model.safetensors").unlink()


# ---- reading ----


def test_order_of_weight_files(saved, tmp_path):
    """Kills: an old .bin preferred to the safetensors beside it."""
    for number, name in reversed(list(enumerate(WEIGHT_FILES))):
        state = {"x": torch.full((1,), float(number))}
        if name.endswith("index.json"):
            shard = f"{number}.safetensors" if "safetensors" in name else f"{number}.bin"
            (tmp_path / name).write_text(json.dumps({"weight_map": {"x": shard}}))
            name = shard
        (save_file if "safetensors" in name else torch.save)(state, tmp_path / name)
        read, path = read_state_dict(Source(tmp_path))
        assert read["x"].item() == number
        assert path.name == WEIGHT_FILES[number]


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_give_the_numbers_of_safetensors(zipped, folder):
    """Kills: pickles of torch before 1.6, which cannot be mapped, refused or read wrongly."""
    before = weights(folder)
    as_pickle(folder, _use_new_zipfile_serialization=zipped)
    after, _ = read_state_dict(Source(folder))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_directory_without_weights(folder):
    """Kills: a message that does not say which names were looked for."""
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"does not contain model.safetensors or .* or pytorch_model.bin.index.json",
    ):
        AlbertModel.from_pretrained(folder)


def _header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda whole: b"", "model.safetensors is empty; download"),
        (lambda whole: b"   \n", "model.safetensors is empty; download"),
        (lambda whole: whole[: len(whole) // 2], "not a complete safetensors file .* again"),
        (lambda whole: whole[:7], "not a complete safetensors file"),
        (lambda whole: whole[:8] + b"?" + whole[9:], "not a complete safetensors file"),
        (lambda whole: whole.replace(b'"F32"', b'"F33"', 1), "not a complete safetensors file"),
        (lambda whole: struct.pack("<Q", 7 << 30) + whole[8:], "not a complete safetensors file"),
        (
            lambda whole: _header(b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'),
            "not a complete safetensors",
        ),
        (
            lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "pointer of git-lfs.* `git lfs pull`",
        ),
        (lambda whole: b"<!DOCTYPE html><html></html>", "is a web page instead of weights"),
    ],
    ids=[
        "empty",
        "blank",
        "half",
        "stub",
        "no-json",
        "bit-flip",
        "gigabytes",
        "no-data",
        "lfs",
        "html",
    ],
)
def test_unreadable_safetensors(content, message, folder):
    """Kills: a traceback from Rust, a hang, or gigabytes allocated for a header that lies."""
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(content(whole))
    with pytest.raises(CheckpointError, match=message):
        AlbertModel.from_pretrained(folder)


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code(zipped, folder, tmp_path):
    """Kills: torch.load without weights_only; an error that passes on torch's advice to switch it off."""
    (folder / "model.safetensors").unlink()
    marker = tmp_path / "ran"
    torch.save(
        {"x": Evil(str(marker))},
        folder / "pytorch_model.bin",
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(
        CheckpointError, match=r"asks to run posix.mkdir, which was refused; convert it"
    ) as caught:
        AlbertModel.from_pretrained(folder)
    assert "weights_only" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-100]),
            "not a complete PyTorch checkpoint",
        ),
        (lambda path: path.write_bytes(b"garbage" * 99), "not a complete PyTorch checkpoint"),
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b"storage", b"storagf", 1)),
            "not a complete PyTorch",
        ),
        (lambda path: torch.save([1, 2], path), "contains a list instead of a state dict"),
        (lambda path: torch.save({"x": 3}, path), "x is not a plain tensor; save model.state_dict"),
        (lambda path: torch.save({"x": torch.eye(2).to_sparse()}, path), "x is not a plain tensor"),
    ],
)
def test_unreadable_pickles(spoil, message, folder):
    """Kills: the unpickler's many exceptions passed on; a wrong byte in the pickle that its checksum would show."""
    as_pickle(folder)
    spoil(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=message):
        AlbertModel.from_pretrained(folder)


def test_a_pickle_that_names_another_tensors_bytes(tmp_path):
    """Kills: a damaged pickle in a whole archive, which torch.load gives b the numbers of a for."""
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(4), "b": torch.zeros(4)}, path)
    first, second = (
        b"X\x01\x00\x00\x00" + number for number in (b"0", b"1")
    )  # the names of the storages
    path.write_bytes(path.read_bytes().replace(second, first))
    assert torch.load(path, weights_only=True)["b"].eq(1).all(), "torch sees nothing wrong"
    with pytest.raises(
        CheckpointError, match=r"not a complete PyTorch checkpoint \(BadZipFile: Bad CRC-32"
    ):
        read_state_dict(Source(tmp_path))


def shard(folder):
    """Two shards by hand: the first key alone, the rest."""
    state = weights(folder)
    first, *rest = state
    (folder / "model.safetensors").unlink()
    save_file({first: state[first]}, folder / "a.safetensors")
    save_file({key: state[key] for key in rest}, folder / "b.safetensors")
    index = {"weight_map": {first: "a.safetensors", **dict.fromkeys(rest, "b.safetensors")}}
    return index, first, rest, state


def test_shards_give_the_numbers_of_one_file(folder):
    """Kills: a shard left out, or read twice."""
    index, *_, state = shard(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    read, _ = read_state_dict(Source(folder))
    assert read.keys() == state.keys()
    assert all(torch.equal(read[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda m, first, rest: m | {first: "../a.safetensors"},
            "points outside its directory: '../a.safetensors'",
        ),
        (
            lambda m, first, rest: m | {first: "/etc/passwd"},
            "points outside its directory: '/etc/passwd'",
        ),
        (lambda m, first, rest: m | {first: ""}, "points outside its directory: ''"),
        (
            lambda m, first, rest: m | {first: "c.safetensors"},
            "names c.safetensors, which does not exist",
        ),
        (
            lambda m, first, rest: m | {"junk": "a.safetensors"},
            "a.safetensors lacks junk, which model.safetensors.index",
        ),
        (
            lambda m, first, rest: {k: v for k, v in m.items() if k != rest[0]},
            "is not named by model.safetensors.index",
        ),
        (lambda m, first, rest: m | {first: 1}, "must contain .*weight_map"),
        (lambda m, first, rest: [], "must contain .*weight_map"),
        (lambda m, first, rest: {}, "must contain .*weight_map"),
    ],
)
def test_a_wrong_index(spoil, message, folder):
    """Kills: an index that reads files elsewhere; a shard or key that is silently missing."""
    index, first, rest, _ = shard(folder)
    index["weight_map"] = spoil(index["weight_map"], first, rest)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=message):
        AlbertModel.from_pretrained(folder)


def test_a_key_in_two_shards(folder):
    """Kills: the later of two shards winning, whichever that is."""
    index, first, _, state = shard(folder)
    save_file(state, folder / "b.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=f"{first} is in two shards"):
        AlbertModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"weight_map": {"x": "a.safetensors", "x": "b.safetensors"}}', "duplicate keys: x"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("\udce9", "is not valid JSON"),
    ],
)
def test_an_index_that_is_no_index(text, message, folder):
    """Kills: JSON's own silence about a key that stands twice."""
    shard(folder)
    (folder / "model.safetensors.index.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=message):
        AlbertModel.from_pretrained(folder)


# ---- fitting ----


def renamed(state, how):
    return {how(key): tensor for key, tensor in state.items()}


@pytest.mark.parametrize(
    "how",
    [
        lambda key: f"module.{key}",
        lambda key: key.removeprefix("albert."),
        lambda key: f"module.module.{key.removeprefix('albert.')}",
        lambda key: key.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ),
    ],
)
@pytest.mark.parametrize("model_class", [AlbertModel, AlbertForPreTraining])
def test_names_are_moved(model_class, how, folder, caplog):
    """Kills: a prefix or an old TF name that is not seen, or seen for one kind of class only."""
    before = model_class.from_pretrained(folder).state_dict()
    before = {key: tensor.clone() for key, tensor in before.items()}
    rewrite(folder, renamed(weights(folder), how))
    caplog.clear()
    after, info = model_class.from_pretrained(folder, output_loading_info=True)
    assert all(torch.equal(before[key], tensor) for key, tensor in after.state_dict().items())
    assert not info["missing_keys"]
    assert not caplog.records


def test_position_ids_are_dropped(folder):
    """Kills: the buffer that older transformers saved taken for a weight of a wrong dtype."""
    rewrite(folder, {**weights(folder), "albert.embeddings.position_ids": torch.arange(20)[None]})
    _, info = AlbertForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert info == {
        "missing_keys": set(),
        "unexpected_keys": set(),
        "mismatched_keys": set(),
        "error_msgs": [],
    }


WORDS, DECODER = "albert.embeddings.word_embeddings.weight", "predictions.decoder.weight"


def test_tied_copies_must_be_equal(folder):
    """Kills: one of two different matrices dropped in silence."""
    state = weights(folder)
    state |= {
        DECODER: state[WORDS].clone(),
        "predictions.decoder.bias": state["predictions.bias"].clone(),
    }
    rewrite(folder, state)
    model = AlbertForMaskedLM.from_pretrained(folder)
    assert model.predictions.decoder.weight is model.albert.embeddings.word_embeddings.weight
    assert model.predictions.decoder.bias is model.predictions.bias
    state[DECODER] += 1
    rewrite(folder, state)
    with pytest.raises(
        CheckpointError, match=f"{DECODER} and {WORDS} differ.* set tie_word_embeddings=False"
    ):
        AlbertForMaskedLM.from_pretrained(folder)
    untied = AlbertForMaskedLM.from_pretrained(folder, tie_word_embeddings=False)
    assert torch.equal(untied.predictions.decoder.weight, state[DECODER])
    assert torch.equal(untied.albert.embeddings.word_embeddings.weight, state[WORDS])


def test_the_copy_stands_in_for_the_original(folder):
    """Kills: a checkpoint that kept the matrix under the decoder's name refused."""
    state = weights(folder)
    words = state.pop(WORDS)
    rewrite(folder, {**state, DECODER: words})
    assert torch.equal(
        AlbertForMaskedLM.from_pretrained(folder).albert.embeddings.word_embeddings.weight, words
    )


def test_heads_of_other_classes_are_dropped(folder, caplog):
    """Kills: a pretraining checkpoint refused, or warned about, where the backbone is wanted."""
    extra = {
        name: torch.ones(2)
        for name in ("qa_outputs.bias", "classifier.weight", "cls.x", "seq_relationship.bias")
    }
    rewrite(folder, {**weights(folder), **extra})
    with caplog.at_level(logging.INFO):
        _, info = AlbertModel.from_pretrained(folder, output_loading_info=True)
    assert (
        extra.keys() | {"predictions.bias", "sop_classifier.classifier.weight"}
        < info["unexpected_keys"]
    )
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "left out" in caplog.text


def test_a_missing_head_is_drawn_and_warned_of_once(folder, caplog):
    """Kills: random weights without a word; two warnings; other parameters drawn anew."""
    state = {
        key: tensor
        for key, tensor in weights(folder).items()
        if "pooler" not in key and "sop" not in key
    }
    rewrite(folder, state)
    model, info = AlbertForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert (
        "AlbertForPreTraining: newly initialised, train before use: albert.pooler.weight"
        in caplog.text
    )
    assert len(info["missing_keys"]) == 4
    assert model.albert.pooler.weight.std() > 0.01
    assert not model.albert.pooler.bias.any()
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())


def test_one_error_lists_everything(folder):
    """Kills: errors one at a time, or without shapes; a half-missing head or an encoder weight that is drawn."""
    state = weights(folder)
    del state["albert.encoder.embedding_hidden_mapping_in.weight"], state["albert.pooler.weight"]
    state |= {"junk": torch.ones(1), "albert.pooler.bias": torch.ones(3)}
    state["albert.embeddings.LayerNorm.bias"] = torch.ones(10, dtype=torch.int64)
    state["albert.embeddings.LayerNorm.weight"] = torch.ones(10, dtype=torch.complex64)
    rewrite(folder, state)
    with pytest.raises(CheckpointError, match="does not fit") as caught:
        AlbertModel.from_pretrained(folder)
    floats = "weights are float32, bfloat16, float16, float64"
    assert str(caught.value).splitlines() == [
        f"checkpoint does not fit AlbertModel ({folder / 'model.safetensors'}):",
        f"  no weight  albert.embeddings.LayerNorm.weight: complex64; {floats}",
        f"  no weight  albert.embeddings.LayerNorm.bias: int64; {floats}",
        "  missing    encoder.embedding_hidden_mapping_in.weight",
        "  missing    pooler.weight",
        "  unexpected junk",
        "  mis-shaped pooler.bias: file (3,), model (24,)",
    ]


@pytest.mark.parametrize("part", ["embeddings", "encoder"])
def test_a_whole_part_of_the_backbone_is_missing(part, folder):
    """Kills: an encoder drawn at random because, like a head, it is missing as a whole."""
    rewrite(
        folder,
        {key: tensor for key, tensor in weights(folder).items() if f"albert.{part}" not in key},
    )
    with pytest.raises(CheckpointError, match=f"missing    {part}"):
        AlbertModel.from_pretrained(folder)


def test_a_strange_key_in_a_head_of_ones_own(folder):
    """Kills: a misspelt weight of the pooler taken for another class's head and dropped."""
    rewrite(folder, {**weights(folder), "albert.pooler.wieght": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"unexpected albert.pooler.wieght"):
        AlbertModel.from_pretrained(folder)


def test_unexpected_keys_when_not_strict(folder, caplog):
    """Kills: strict=False that is silent, or that forgives a missing encoder."""
    state = {**weights(folder), "junk": torch.ones(1)}
    rewrite(folder, state)
    with pytest.raises(CheckpointError, match="unexpected junk"):
        AlbertForPreTraining.from_pretrained(folder)
    AlbertForPreTraining.from_pretrained(folder, strict=False)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "left out unexpected junk"
    ]
    del state["albert.encoder.embedding_hidden_mapping_in.weight"]
    rewrite(folder, state)
    with pytest.raises(
        CheckpointError, match=r"missing    albert.encoder.embedding_hidden_mapping_in.weight"
    ):
        AlbertForPreTraining.from_pretrained(folder, strict=False)


def test_another_shape(folder, caplog):
    """Kills: mismatched weights loaded as they are; the vocabulary blamed without saying what to change."""
    with pytest.raises(
        CheckpointError,
        match=r"file \(61, 10\), model \(70, 10\)\n(.*\n)*.*vocab_size=70, the weights 61",
    ):
        AlbertForMaskedLM.from_pretrained(folder, vocab_size=70)
    model, info = AlbertForMaskedLM.from_pretrained(
        folder, vocab_size=70, ignore_mismatched_sizes=True, output_loading_info=True
    )
    assert info["mismatched_keys"] == {
        (WORDS, (61, 10), (70, 10)),
        ("predictions.bias", (61,), (70,)),
    }
    assert model.predictions.decoder.weight.shape == (70, 10)
    assert model.predictions.decoder.weight.std() > 0.01
    assert "newly initialised" in caplog.text


@pytest.mark.parametrize(
    ("one", "other"),
    [("module.albert.pooler.bias", "albert.pooler.bias"), ("pooler.bias", "albert.pooler.bias"),
     ("albert.embeddings.LayerNorm.beta", "albert.embeddings.LayerNorm.bias")],
)  # fmt: skip
def test_two_names_of_one_weight(one, other, folder):
    """Kills: the later of two names winning."""
    state = weights(folder)
    rewrite(folder, {**state, one: state[other].clone()})
    with pytest.raises(CheckpointError, match=f"holds {other} twice"):
        AlbertModel.from_pretrained(folder)


def test_a_class_of_ones_own(caplog):
    """Kills: a head that is not in our list refused as if it were part of the encoder."""
    expected = {"albert.encoder.x": torch.ones(1), "regressor.weight": torch.ones(2)}
    result = fit({"encoder.x": torch.ones(1)}, expected, model="Own", where="file", tied={})
    assert result.missing == ["regressor.weight"]
    assert "regressor.weight" in caplog.text


@pytest.mark.parametrize(
    ("parts", "architectures", "heads"),
    [
        ({"albert.pooler", "predictions", "sop_classifier"}, None, ["PreTraining", "MaskedLM"]),
        ({"albert.pooler", "predictions"}, ["AlbertForPreTraining"], ["MaskedLM"]),
        ({"predictions", "sop_classifier"}, None, ["MaskedLM"]),
        ({"albert.pooler", "classifier"}, ["AlbertForMultipleChoice"], ["MultipleChoice"]),
        ({"albert.pooler", "classifier"}, None, ["SequenceClassification"]),
        ({"classifier"}, ["AlbertForTokenClassification"], ["TokenClassification"]),
        ({"classifier"}, ["AlbertForMultipleChoice"], ["TokenClassification"]),
        ({"qa_outputs"}, None, ["QuestionAnswering"]),
        (set(), ["AlbertForMaskedLM"], []),
    ],
)
def test_the_classes_that_a_checkpoint_fills(parts, architectures, heads):
    """Kills: a head compared, or named in a config, on weights that the files do not hold."""
    assert classes_filled(parts, architectures) == [
        *(f"AlbertFor{head}" for head in heads),
        "AlbertModel",
    ]


# ---- any damage at all ----


def mutate(folder, rng):
    """Damage one file in one way; whether the numbers may differ afterwards."""
    path = rng.choice(sorted(folder.iterdir()))
    content = bytearray(path.read_bytes())
    kind = rng.choice(
        [
            "bytes",
            "bytes",
            "header",
            "header",
            "cut",
            "grow",
            "gone",
            "swap",
            "json",
            "json",
            "json",
        ]
    )
    if kind == "json" and path.suffix == ".json":
        values = json.loads(content)
        place, key = values, rng.choice(sorted(values))
        while isinstance(place[key], dict) and place[key]:
            place, key = place[key], rng.choice(sorted(place[key]))
        junk = [
            None,
            True,
            0,
            -1,
            1,
            2,
            3,
            7,
            10**9,
            10**12,
            10**30,
            1.5,
            1e300,
            float("nan"),
            "",
            "x",
            "../x",
            [],
            {},
            [1],
        ]
        place[key] = rng.choice(junk)
        path.write_text(json.dumps(values))
        return False
    if kind == "gone":
        path.unlink()
        return False
    if kind == "swap":
        other = rng.choice(sorted(folder.iterdir()))
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
        return False
    data = (
        8 + int.from_bytes(content[:8], "little") if path.suffix == ".safetensors" else 0
    )  # where the header ends
    if kind == "cut":
        path.write_bytes(content[: rng.randrange(len(content))])
        return False
    if kind == "grow":
        path.write_bytes(content + rng.randbytes(rng.randrange(1, 99)))
        return False
    end = data if kind == "header" and data else len(content)
    places = [rng.randrange(end) for _ in range(rng.choice([1, 1, 2, 8]))]
    for place in places:
        content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return path.suffix == ".bin" or (path.suffix == ".safetensors" and max(places) >= data)


@pytest.mark.parametrize("kind", ["safetensors", "shards", "zip", "legacy"])
def test_damage_is_loaded_right_or_refused(kind, tmp_path):
    """Kills: another exception, a crash, a hang, a huge allocation or a wrong weight, for any damage to any file."""
    whole, rng = tmp_path / "whole", random.Random(kind)
    config = AlbertConfig(
        **{**CONFIG, "vocab_size": 11, "max_position_embeddings": 5, "intermediate_size": 7}
    )
    model = AlbertForMaskedLM(config)
    model.save_pretrained(whole, max_shard_size=4000 if kind == "shards" else "5GB")
    if kind in ("zip", "legacy"):
        as_pickle(whole, _use_new_zipfile_serialization=kind == "zip")
    right = model.state_dict()
    loaded = refused = 0
    for number in range(550):
        folder = shutil.copytree(whole, tmp_path / str(number))
        free = mutate(folder, rng)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                state = AlbertForMaskedLM.from_pretrained(folder).state_dict()
            assert free or all(torch.equal(right[key], state[key]) for key in right), (
                f"wrong weight in {folder}"
            )
            loaded += 1
        except (ValueError, FileNotFoundError):  # CheckpointError is a ValueError
            refused += 1
        shutil.rmtree(folder)
    assert loaded > 20
    assert refused > 100
