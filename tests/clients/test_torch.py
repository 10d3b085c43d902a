"""What torch does with models: compiling, exporting, copying, pickling, replicating."""

import copy
import importlib
import io
import pickle
from typing import Any

import pytest
import torch
from helpers.constants import SHARED
from helpers.reference import CLASS_NAMES, inputs_for
from torch.nn.parallel import scatter_gather

import albert_torch

# The package has a function of the same name, which hides the module.
parallel = importlib.import_module("torch.nn.parallel.replicate")
pytestmark = pytest.mark.clients


def random_model(name: str = "AlbertForMaskedLM", **options: Any) -> Any:
    return getattr(albert_torch, name)(
        albert_torch.AlbertConfig(**SHARED, initializer_range=0.3), **options
    ).eval()


def test_compile_takes_the_whole_model_and_its_gradients() -> None:
    """Catches: a graph break in the forward pass, a shared layer that loses its gradients."""
    model = random_model()
    inputs = inputs_for("AlbertForMaskedLM", SHARED)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    gradients = []
    for run in (model, compiled):
        model.zero_grad()
        run(**inputs).loss.backward()
        gradients.append(
            {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.slow
def test_compile_with_code_generation() -> None:
    """Catches: a forward pass that traces but that inductor cannot lower."""
    model = random_model()
    inputs = inputs_for("AlbertForMaskedLM", SHARED)
    with torch.no_grad():
        got = torch.compile(model, fullgraph=True)(**inputs)
        torch.testing.assert_close(got.logits, model(**inputs).logits, rtol=1e-4, atol=1e-5)
    assert type(got) is type(model(**inputs))


def test_export_serves_other_batches_and_lengths() -> None:
    """Catches: a size written into the graph, a check of values that export cannot follow."""
    model = random_model()
    inputs = {
        name: value
        for name, value in inputs_for("AlbertForMaskedLM", SHARED).items()
        if name != "labels"
    }
    sizes = {
        0: torch.export.Dim("rows", min=1, max=64),
        1: torch.export.Dim("tokens", min=2, max=20),
    }
    program = torch.export.export(model, (), inputs, dynamic_shapes=dict.fromkeys(inputs, sizes))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    served = torch.export.load(file).module()
    for lengths in ((9, 5, 1), (14, 7), (20,)):
        other = inputs_for("AlbertForMaskedLM", SHARED, lengths=lengths)
        other = {name: other[name] for name in inputs}
        torch.testing.assert_close(
            served(**other).logits, model(**other).logits, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_copies_and_pickles_are_whole(name: str) -> None:
    """Catches: a copy that shares memory with its original, a tie that is cut, a lost setting."""
    model = random_model(name, attn_implementation="eager", unpad=True)
    inputs = inputs_for(name, SHARED)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(file, weights_only=False),
    ):
        assert (other.attn_implementation, other.base_model.unpad) == ("eager", True)
        assert other.config == model.config
        assert other.config is not model.config
        for ours, theirs in zip(
            model(**inputs).to_tuple(), other(**inputs).to_tuple(), strict=True
        ):
            assert torch.equal(ours, theirs)
        assert len(list(other.parameters())) == len(list(model.parameters()))
        assert not {p.data_ptr() for p in other.parameters()} & {
            p.data_ptr() for p in model.parameters()
        }
        other.config.num_hidden_layers = 1
        assert other.base_model.encoder.config is other.config


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_replicas_of_data_parallel_run_and_gather(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: a forward pass that needs `parameters()`, which replicas do not have.

    `replicate` and `gather` are those of torch. Only the copies between GPUs are made on the CPU.
    """

    def broadcast(tensors: Any, devices: Any, detach: bool = False) -> list[list[torch.Tensor]]:
        return [[tensor.clone() for tensor in tensors] for _ in devices]

    monkeypatch.setattr(parallel, "_broadcast_coalesced_reshape", broadcast)
    monkeypatch.setattr(parallel, "_get_device_index", lambda device, optional: device)
    gather = staticmethod(
        lambda device, dim, *parts: torch.cat([part.reshape(-1, *part.shape[1:]) for part in parts])
    )
    monkeypatch.setattr(scatter_gather, "Gather", type("Gather", (), {"apply": gather}))
    model = random_model(name)
    inputs = {
        key: torch.cat([value, value])
        for key, value in inputs_for(name, SHARED, lengths=(9, 5)).items()
    }
    want = model(**inputs)
    replicas = parallel.replicate(model, [0, 1])
    halves = [
        {key: value[half] for key, value in inputs.items()} for half in (slice(0, 2), slice(2, 4))
    ]
    outputs = [replica(**half) for replica, half in zip(replicas, halves, strict=True)]
    gathered = scatter_gather.gather(outputs, 0)
    assert type(gathered) is type(want)
    for key in want.keys() - {"loss"}:
        torch.testing.assert_close(gathered[key], want[key])
    if "loss" in want:
        assert gathered.loss.shape == (2,)
        gathered.loss.mean().backward()
    else:
        gathered[0].sum().backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if "pooler" not in n)
