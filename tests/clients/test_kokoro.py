"""Kokoro, a text-to-speech model that subclasses `AlbertModel` for its prosody (PL-BERT)."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("loguru")
pytest.importorskip("attr")
SPEC = importlib.util.find_spec("kokoro")
if SPEC is None:
    pytest.skip("could not import 'kokoro'", allow_module_level=True)

import albert_torch  # noqa: E402

PLBERT = {
    "hidden_size": 24,
    "num_attention_heads": 4,
    "intermediate_size": 36,
    "max_position_embeddings": 40,
}
CONFIG = {
    "vocab": {letter: i for i, letter in enumerate("abcdefghij", 1)},
    "n_token": 61,
    "plbert": {**PLBERT, "num_hidden_layers": 3, "dropout": 0.1},
    "hidden_dim": 512,
    "style_dim": 128,
    "n_layer": 1,
    "max_dur": 3,
    "dropout": 0.2,
    "text_encoder_kernel_size": 5,
    "n_mels": 80,
    "istftnet": {
        "upsample_kernel_sizes": [20, 12],
        "upsample_rates": [10, 6],
        "gen_istft_hop_size": 5,
        "gen_istft_n_fft": 20,
        "resblock_dilation_sizes": [[1, 3, 5]],
        "resblock_kernel_sizes": [3],
        "upsample_initial_channel": 512,
    },
}


def kokoro(folder: Path, library: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import its `model` module with ALBERT from a library, and without its text front end."""
    assert SPEC is not None
    (package := folder / library / "kokoro").mkdir(parents=True)
    for path in Path(str(SPEC.origin)).parent.glob("*.py"):
        source = "" if path.name == "__init__.py" else path.read_text()
        (package / path.name).write_text(
            source.replace("from transformers import Albert", f"from {library} import Albert")
        )
    for name in [name for name in sys.modules if name.partition(".")[0] == "kokoro"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(folder / library)
    return importlib.import_module("kokoro.model")


@pytest.mark.filterwarnings("ignore:config key 'dropout' does nothing")
def test_it_speaks_with_our_model_as_with_transformers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Catches: a subclass, an int mask, a `dropout` key, `module.` or `position_ids` refused."""
    torch.save({}, tmp_path / "none.pth")
    first = (
        kokoro(tmp_path, "transformers", monkeypatch)
        .KModel("any", CONFIG, str(tmp_path / "none.pth"))
        .eval()
    )
    with torch.no_grad():
        for parameter in first.bert.parameters():
            parameter.normal_(std=0.3)
    states = {name: child.state_dict() for name, child in first.named_children()}
    states["bert"] = {f"module.{name}": value for name, value in states["bert"].items()}
    states["bert"]["module.embeddings.position_ids"] = torch.arange(40)[None]
    torch.save(states, tmp_path / "voice.pth")
    second = (
        kokoro(tmp_path, "albert_torch", monkeypatch)
        .KModel("any", CONFIG, str(tmp_path / "voice.pth"))
        .eval()
    )
    assert isinstance(second.bert, albert_torch.AlbertModel)
    assert second.device == torch.device("cpu")
    ids, style = torch.tensor([[0, 3, 1, 4, 2, 0]]), torch.randn(1, 256)
    spoken = []
    for model in (first, second):
        torch.manual_seed(0)
        spoken.append(model.forward_with_tokens(ids, style))
    assert spoken[0][0].numel() > 1000
    assert torch.equal(spoken[0][1], spoken[1][1])
    torch.testing.assert_close(spoken[0][0], spoken[1][0], rtol=0, atol=1e-4)
    mask = torch.ones_like(ids).int()
    torch.testing.assert_close(
        first.bert(ids, attention_mask=mask), second.bert(ids, attention_mask=mask)
    )
