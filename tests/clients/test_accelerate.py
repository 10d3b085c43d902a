"""Preparing, gathering, saving and placing models with accelerate."""

from pathlib import Path
from typing import Any

import pytest
import torch

accelerate = pytest.importorskip("accelerate")

from helpers.clients import shape  # noqa: E402

import albert_torch  # noqa: E402

CONFIG = shape(61)


def test_it_prepares_trains_and_gathers_outputs(rows: list[dict[str, Any]]) -> None:
    """Catches: an output that `prepare`, `autocast` or `gather` turns into something else."""
    # Another test of this process may have left a state behind.
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision="bf16")
    model = albert_torch.AlbertForSequenceClassification(
        albert_torch.AlbertConfig(**shape(150), initializer_range=0.2)
    )
    loader = torch.utils.data.DataLoader(
        [{name: torch.tensor(value) for name, value in row.items()} for row in rows],
        batch_size=len(rows),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    losses = []
    for _ in range(30):
        for batch in loader:
            output = model(**batch)
            accelerator.backward(output.loss)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(output.loss.item())
    assert losses[-1] < 0.3 < 0.6 < losses[0]
    gathered = accelerator.gather_for_metrics(output)
    assert type(gathered) is type(output)
    assert torch.equal(gathered.logits, output.logits)
    accelerator.free_memory()
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


def test_it_saves_a_model_with_tied_weights(tmp_path: Path) -> None:
    """Catches: a tie that `save_model` writes twice or loses."""
    accelerator = accelerate.Accelerator(cpu=True)
    model = albert_torch.AlbertForMaskedLM(albert_torch.AlbertConfig(**CONFIG))
    accelerator.save_model(model, tmp_path)
    model.config.save_pretrained(tmp_path)
    back, info = albert_torch.AlbertForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert all(
        torch.equal(value, model.state_dict()[name]) for name, value in back.state_dict().items()
    )
    other = albert_torch.AlbertForMaskedLM(albert_torch.AlbertConfig(**CONFIG))
    accelerate.load_checkpoint_in_model(other, str(tmp_path))
    assert all(
        torch.equal(value, model.state_dict()[name]) for name, value in other.state_dict().items()
    )


def test_it_maps_devices_and_offloads() -> None:
    """Catches: a shared layer cut in two, tied weights on two devices, hooks that break."""
    for name in ("AlbertForSequenceClassification", "AlbertForMaskedLM"):
        model = getattr(albert_torch, name)(albert_torch.AlbertConfig(**CONFIG)).eval()
        room = {"cpu": sum(p.nbytes for p in model.parameters()) * 9 // 10, "disk": "1GB"}
        places = accelerate.infer_auto_device_map(
            model, max_memory=room, no_split_module_classes=["AlbertLayer"]
        )
        assert set(places.values()) == {"cpu", "disk"}
        assert [places[n] for n in places if n.startswith("albert.encoder")][-1] == "disk"
        assert not any(".albert_layers.0." in part for part in places)
        assert places.get("predictions", "cpu") == "cpu"  # with the word embeddings, its tie
        ids = torch.randint(5, 61, (2, 9))
        want = model(ids).logits
        accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
        assert next(model.albert.encoder.parameters()).is_meta
        torch.testing.assert_close(model(ids).logits, want)
