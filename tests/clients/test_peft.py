"""LoRA and prompt tuning by PEFT on the plain models."""

from pathlib import Path
from typing import Any

import pytest
import torch

peft = pytest.importorskip("peft")

from helpers.clients import shape  # noqa: E402

import albert_torch  # noqa: E402
from albert_torch.integrations.peft import register_with_peft  # noqa: E402

CONFIG = {**shape(150), "initializer_range": 0.2, "classifier_dropout_prob": 0.0}


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return albert_torch.AlbertForSequenceClassification(albert_torch.AlbertConfig(**CONFIG))


@pytest.fixture
def batch(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}


def train(model: Any, batch: dict[str, torch.Tensor], steps: int = 20) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    model.train()
    for _ in range(steps):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses


def test_lora_trains_merges_saves_and_loads(
    model: Any, batch: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """Catches: no default for ALBERT's names, an adapter without gradients, a wrong merge."""
    register_with_peft()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tuned = peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8))
    adapted = {
        name.split(".lora_A")[0].rpartition(".")[2]
        for name, _ in tuned.named_parameters()
        if "lora_A" in name
    }
    assert adapted == {"query", "value"}
    losses = train(tuned, batch)
    assert losses[-1] < losses[0] / 2
    want = tuned(**batch).logits
    tuned.save_pretrained(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    merged = tuned.merge_and_unload()
    torch.testing.assert_close(merged(**batch).logits, want, rtol=0, atol=1e-5)
    assert type(merged) is albert_torch.AlbertForSequenceClassification
    merged.save_pretrained(tmp_path / "merged")
    back = albert_torch.AlbertForSequenceClassification.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(back(**batch).logits, want, rtol=0, atol=1e-5)
    fresh = albert_torch.AlbertForSequenceClassification(albert_torch.AlbertConfig(**CONFIG))
    fresh.load_state_dict(before)
    loaded = peft.PeftModel.from_pretrained(fresh, tmp_path / "adapter").eval()
    torch.testing.assert_close(loaded(**batch).logits, want, rtol=0, atol=1e-6)


def test_prompt_tuning_trains_the_prompt_alone(
    model: Any, batch: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """Catches: `inputs_embeds` that are refused, a prompt of size H instead of E."""
    config = peft.PromptTuningConfig(
        task_type="SEQ_CLS",
        num_virtual_tokens=4,
        token_dim=model.config.embedding_size,
        modules_to_save=["classifier"],
    )
    before = {name: value.clone() for name, value in model.albert.state_dict().items()}
    tuned = peft.get_peft_model(model, config)
    losses = train(tuned, batch)
    assert losses[-1] < losses[0]
    prompt = tuned.prompt_encoder["default"].embedding.weight
    assert prompt.shape == (4, model.config.embedding_size)
    assert all(
        torch.equal(value, before[name]) for name, value in model.albert.state_dict().items()
    )
    want = tuned(**batch).logits
    tuned.save_pretrained(tmp_path)
    fresh = albert_torch.AlbertForSequenceClassification(albert_torch.AlbertConfig(**CONFIG))
    fresh.albert.load_state_dict(before)
    loaded = peft.PeftModel.from_pretrained(fresh, tmp_path).eval()
    torch.testing.assert_close(loaded(**batch).logits, want, rtol=0, atol=1e-6)
