"""A task from outside the package: its own options, training, resuming, predictions, and the
command line.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import last_tensors, same_tensors, sentences, small_config

from albert_torch import AlbertForSequenceClassification
from albert_torch.cli.main import main
from albert_torch.finetuning import FinetuningConfig, Options, Task, finetune
from albert_torch.finetuning.tasks.registry import (
    TASKS,
    find_task,
    make_task,
    register_task,
    task_option_fields,
    with_task,
)
from albert_torch.training.options import option

pytest.importorskip("accelerate")

MODULE = '''
from dataclasses import dataclass

import torch

from albert_torch import AlbertForSequenceClassification
from albert_torch.finetuning import Options, Split, Task, option, register_task
from albert_torch.readers import read_texts


@dataclass
class KeywordOptions(Options):
    keyword: str = option("", "the word to look for")
    min_count: int = option(1, "how often it must occur", minimum=1)


@register_task("keyword")
class KeywordTask(Task):
    """Does a text contain a word? The files hold one text per line."""

    head_class = AlbertForSequenceClassification
    metric = "accuracy"
    options_class = KeywordOptions

    def load_split(self, name):
        path = getattr(self.config, name)
        if not path:
            return None
        texts = list(read_texts(path))
        examples = self.encode(texts)
        for example, text in zip(examples, texts):
            count = text.split().count(self.options.keyword)
            example["labels"] = int(count >= self.options.min_count)
        return Split(examples, texts)

    def model_config_overrides(self):
        return {"num_labels": 2}

    def score(self, split, outputs):
        predicted = torch.stack(outputs).argmax(-1).tolist()
        right = sum(p == example["labels"] for p, example in zip(predicted, split.examples))
        return {"accuracy": 100 * right / len(predicted)}

    def predictions(self, split, outputs):
        return [
            {"text": text, "prediction": bool(logits.argmax())}
            for text, logits in zip(split.references, outputs)
        ]
'''


@pytest.fixture
def keyword_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class of a module that only this test can import; the table of tasks is restored
    later.
    """
    (tmp_path / "keyword_task.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "keyword_task", raising=False)
    known = dict(TASKS)
    yield find_task("keyword_task:KeywordTask")
    TASKS.clear()
    TASKS.update(known)
    sys.modules.pop("keyword_task", None)


def config_for(folder: Path, **options: Any) -> FinetuningConfig:
    """A small run on texts of which half contain "good"."""
    for name, count in (("train", 40), ("dev", 16)):
        (folder / f"{name}.txt").write_text("".join(f"{text}\n" for text, _ in sentences(count)))
    values = {
        "task": "",
        "data": "",
        "train": str(folder / "train.txt"),
        "dev": str(folder / "dev.txt"),
        "test": str(folder / "dev.txt"),
    }
    return small_config(folder, **{**values, **options})


def test_a_task_class_trains_resumes_and_predicts(tmp_path: Path, keyword_task: type[Task]) -> None:
    """Kills: options that do not reach the task, a recipe that does not say which task ran, a
    resumed run that is another one, predictions without what the task keeps.
    """
    config = config_for(tmp_path, task_options={"keyword": "good"})
    (result,) = finetune(config, tmp_path / "whole", task=keyword_task)
    assert result.metric == "accuracy"
    written = FinetuningConfig.load(tmp_path / "whole" / "recipe.toml")
    assert find_task(written.task) is keyword_task
    assert written.task_options == {"keyword": "good", "min_count": 1}

    class Interrupted(keyword_task):  # type: ignore[valid-type,misc]
        """Stops after seven updates, as a killed process would."""

        updates = 0

        def randomize(self, examples: list[Any], seed: int) -> list[Any]:
            self.updates += 1
            if self.updates > 7:
                raise KeyboardInterrupt
            return examples

    with pytest.raises(KeyboardInterrupt):
        finetune(written, tmp_path / "cut", task=Interrupted)
    finetune(written, tmp_path / "cut", resume=True)
    assert same_tensors(last_tensors(tmp_path / "cut"), last_tensors(tmp_path / "whole"))
    lines = (tmp_path / "cut" / "predictions.jsonl").read_text().splitlines()
    texts = [text for text, _ in sentences(16)]
    assert [json.loads(line)["text"] for line in lines] == texts
    model = AlbertForSequenceClassification.from_pretrained(tmp_path / "cut")
    assert model.config.num_labels == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--task", "keyword_task:KeywordTask"],
        ["--plugin", "keyword_task", "--task", "keyword"],
    ],
    ids=["module:Class", "plugin"],
)
def test_a_task_on_the_command_line(
    tmp_path: Path, keyword_task: type[Task], arguments: list[str], monkeypatch: Any, capsys: Any
) -> None:
    """Kills: a task that only Python can name, options of a task that the command line refuses."""
    monkeypatch.chdir(tmp_path)
    Path("recipe.toml").write_text(config_for(tmp_path).to_toml())
    run = ["recipe.toml", "--out", "run", "--steps", "2", "--warmup-steps", "0", "--quiet"]
    options = [*arguments, "--keyword", "good", "--min-count", "2"]
    assert main(["finetune", *run, *options]) == 0
    assert "best accuracy" in capsys.readouterr().out
    written = FinetuningConfig.load("run/recipe.toml")
    assert written.task_options == {"keyword": "good", "min_count": 2}
    assert len(Path("run/predictions.jsonl").read_text().splitlines()) == 16
    with pytest.raises(SystemExit):
        main(["finetune", *arguments, "--help"])
    assert "how often it must occur" in " ".join(capsys.readouterr().out.split())


def test_options_of_a_task_stand_side_by_side_with_the_other_keys(
    tmp_path: Path, keyword_task: type[Task]
) -> None:
    """Kills: an option that is lost in recipe.toml, a suggestion for the keys of all tasks only."""
    config = config_for(tmp_path, task="keyword_task:KeywordTask", keyword="bad", min_count="3")
    assert config.task_options == {"keyword": "bad", "min_count": 3}
    text = config.to_toml()
    assert 'keyword = "bad"\nmin_count = 3\n' in text
    assert "task_options" not in text
    with pytest.raises(ValueError, match="unknown key 'keywrod'; did you mean keyword"):
        config_for(tmp_path, task="keyword", keywrod="bad")
    with pytest.raises(ValueError, match="min_count=0 must be at least 1"):
        config_for(tmp_path, task="keyword", min_count=0)
    names = [field.name for field in task_option_fields("keyword")]
    assert names == ["keyword", "min_count"]
    assert {"keyword", "doc_stride"} <= {field.name for field in task_option_fields()}


def test_options_of_every_type_are_written(tmp_path: Path, keyword_task: type[Task]) -> None:
    """Kills: a table that ends the other keys of recipe.toml, a None that becomes the default."""

    @dataclass
    class ManyOptions(Options):
        weights: dict[str, Any] = option({}, "a table")
        rate: float | None = option(0.5, "a number or none")
        words: list[str] = option(["a"], "several words")

    class ManyTask(keyword_task):  # type: ignore[valid-type,misc]
        options_class = ManyOptions

    register_task("many")(ManyTask)
    config = config_for(tmp_path, task="many", weights={"x": 1}, rate=None, words=["b", 'c"'])
    (tmp_path / "recipe.toml").write_text(config.to_toml())
    assert FinetuningConfig.load(tmp_path / "recipe.toml") == config
    assert config.model_config


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("keyword2", "task='keyword2' is not known; use one of cola, .*package.module:ClassName"),
        ("nowhere_at_all:Task", "task='nowhere_at_all:Task' cannot be imported: No module named"),
        ("json:Nothing", "task='json:Nothing' cannot be imported: .*has no attribute 'Nothing'"),
        ("json:JSONDecoder", "task='json:JSONDecoder' is not a subclass"),
    ],
)
def test_names_that_are_no_task(name: str, message: str) -> None:
    """Kills: a misspelt task that ends in a traceback of importlib."""
    with pytest.raises(ValueError, match=message):
        FinetuningConfig(task=name)


def test_a_recipe_and_a_class_must_agree(tmp_path: Path, keyword_task: type[Task]) -> None:
    """Kills: a recipe for one task that is silently used for another; a subclass that is
    refused.
    """
    with pytest.raises(ValueError, match="names the task 'classification', but task=KeywordTask"):
        with_task(config_for(tmp_path, task="classification"), keyword_task)

    class Derived(keyword_task):  # type: ignore[valid-type,misc]
        """A variant of the same task."""

    config = config_for(tmp_path, task="keyword")
    assert with_task(config, Derived) is config
    assert with_task(config, None) is config
    named = with_task(config_for(tmp_path), Derived)
    assert find_task(named.task) is Derived


def test_a_name_belongs_to_one_task(keyword_task: type[Task]) -> None:
    """Kills: a plugin that replaces one of the package's tasks unseen."""
    with pytest.raises(ValueError, match=r"the task name 'sst2' is taken by .*SingleLabel"):
        register_task("sst2")(keyword_task)
    assert register_task("keyword")(keyword_task) is keyword_task


def test_methods_that_a_task_inherits(tmp_path: Path, keyword_task: type[Task]) -> None:
    """Kills: a default that weights, changes or counts something."""
    task = make_task(
        config_for(tmp_path, task="keyword"),
        tokenizer=_AnyTokenizer(),
        task=None,  # type: ignore[arg-type]
    )
    examples = [{"input_ids": [1, 2, 3]}]
    assert task.num_targets(examples[0]) == 1
    assert task.randomize(examples, 7) is examples
    assert task.num_classes == 0
    collected = task.collect_outputs({"logits": torch.eye(2).bfloat16()}, {})  # type: ignore[arg-type]
    assert [row.dtype for row in collected] == [torch.float32] * 2


class _AnyTokenizer:
    model_max_length = 10
