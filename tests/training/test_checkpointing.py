"""Checkpoint files: written in one go, checked when they are read, and never of another run."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from albert_torch.training.checkpointing import (
    Checkpoint,
    TrainingState,
    check_same_run,
    load_checkpoint,
    refuse_second_run,
    save_checkpoint,
)
from albert_torch.training.config import TrainingConfig


def checkpoint(step: int) -> Checkpoint[TrainingState]:
    state = TrainingState({"steps": 9}, {"files": 2}, step=step, position=(1, 2), attempt=3)
    return Checkpoint(state, {"weight": torch.ones(2)}, {"state": {}})


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    """Kills: a field that is not saved, weights that are mistaken for the optimizer's state."""
    assert load_checkpoint(tmp_path, TrainingState) is None
    save_checkpoint(checkpoint(step=4), tmp_path)
    loaded = load_checkpoint(tmp_path, TrainingState)
    assert loaded is not None
    assert loaded.state == checkpoint(step=4).state
    assert loaded.optimizer == {"state": {}}
    assert torch.equal(loaded.model["weight"], torch.ones(2))


def test_a_checkpoint_is_replaced_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: the old checkpoint overwritten in place, where a kill would leave half of the
    new one.
    """
    save_checkpoint(checkpoint(step=1), tmp_path)

    def interrupt(source: Path, target: Path) -> None:
        steps = [torch.load(path, weights_only=True)["step"] for path in (source, target)]
        assert steps == [2, 1]
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(checkpoint(step=2), tmp_path)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a truncated last.pt, a partial file that stays, an error that does not say what
    to do.
    """
    save_checkpoint(checkpoint(step=1), tmp_path)

    def write_half(content: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(torch, "save", write_half)
    with pytest.raises(OSError, match=r"No space left on device.*Free disk space"):
        save_checkpoint(checkpoint(step=2), tmp_path)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    """Kills: a partial checkpoint for every kill, each as large as the model and its moments."""
    (tmp_path / ".last.pt.12345.partial").write_bytes(b"half")
    (tmp_path / "other.partial").write_bytes(b"")
    save_checkpoint(checkpoint(step=1), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "other.partial"]


def test_a_file_that_is_not_a_checkpoint(tmp_path: Path) -> None:
    """Kills: an error from inside torch, a checkpoint of another kind of run that is accepted."""
    (tmp_path / "last.pt").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"last\.pt is not a checkpoint of this kind of run"):
        load_checkpoint(tmp_path, TrainingState)
    torch.save({"model": {}, "optimizer": {}, "best": 1.0}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match=r"last\.pt is not a checkpoint of this kind of run"):
        load_checkpoint(tmp_path, TrainingState)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    """Kills: a pickle that is loaded without weights_only."""

    class Exploit:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "created"),))

    torch.save({"model": Exploit(), "optimizer": {}}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        load_checkpoint(tmp_path, TrainingState)
    assert not (tmp_path / "created").exists()


def test_another_run_is_refused_with_all_differences() -> None:
    """Kills: a run continued with other options or data, an option that is wrongly compared."""
    config = TrainingConfig(steps=9, batch_size=4)
    state = TrainingState(config.to_dict(), {})
    check_same_run(state, TrainingConfig(steps=9, batch_size=4, log_steps=3, tensorboard=True), [])
    changed = TrainingConfig(steps=9, batch_size=8, seed=2)
    with pytest.raises(ValueError, match="batch_size was 4, is 8; seed was 1, is 2; other text"):
        check_same_run(state, changed, ["other text"])


def test_a_new_run_does_not_overwrite_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a finished run that is lost, a process that is refused because the first was
    faster.
    """
    refuse_second_run(tmp_path, resume=False)
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(ValueError, match="already holds a run: resume it, or choose another"):
        refuse_second_run(tmp_path, resume=False)
    refuse_second_run(tmp_path, resume=True)
    monkeypatch.setenv("RANK", "1")
    refuse_second_run(tmp_path, resume=False)
