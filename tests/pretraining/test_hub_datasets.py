"""Data sets of the Hub: names, commits and records, with a Hub that is simulated."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.small_corpus import letter_tokenizer

from albert_torch.pretraining.corpus import CorpusFormat, describe_corpus, read_sentences
from albert_torch.pretraining.hub_datasets import HubDataset, resolve_commit
from albert_torch.pretraining.prepare import prepare_shards

BODY = CorpusFormat(column="body")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A Hub whose data sets change between any two requests; returns the list of requests."""
    requests: list[Any] = []

    def load_dataset(*args: object, **kwargs: object) -> Iterator[dict[str, str]]:
        requests.append((args, kwargs))
        return iter([{"body": "one\n\ntwo"}, {"body": ""}, {"body": "three"}])

    def dataset_info(self: object, name: str, revision: str | None = None) -> types.SimpleNamespace:
        requests.append((name, revision))
        return types.SimpleNamespace(sha=f"commit {len(requests)}")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", dataset_info)
    resolve_commit.cache_clear()
    return requests


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("org/name", ("org/name", None, None)),
        ("org/name:config@v1.0", ("org/name", "config", "v1.0")),
        ("org/name@refs/pr/1", ("org/name", None, "refs/pr/1")),
        ("name", None),
        ("a/b/c", None),
        ("org/text.txt", None),
        ("org/text.jsonl.gz", None),
    ],
)
def test_names_of_data_sets(spec: str, parts: tuple[str | None, ...] | None) -> None:
    """Catches: a misspelt path taken for a data set, a configuration taken for a revision."""
    dataset = HubDataset.parse(spec)
    found = None if dataset is None else (dataset.name, dataset.config, dataset.revision)
    assert found == parts


def test_an_existing_path_is_not_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: a local directory that is looked for on the Hub."""
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert HubDataset.parse("org/name") is None


def test_a_data_set_is_streamed_at_the_commit_that_describes_it(
    hub: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: a corpus that changes during a run, a configuration or revision not passed on."""
    sentences = list(read_sentences(["org/name:config"], BODY))
    assert sentences == ["one", "two", None, "three", None]
    read = {"split": "train", "streaming": True}
    assert hub == [("org/name", None), (("org/name", "config"), {**read, "revision": "commit 1"})]
    assert describe_corpus(["org/name:config"])["sources"] == [
        {"name": "org/name:config", "revision": "commit 1"}
    ]
    assert describe_corpus(["org/name@v1.0"])["sources"] == [
        {"name": "org/name", "revision": "commit 3"}
    ]
    list(read_sentences(["org/name@v1.0"], BODY))
    assert hub[2:] == [("org/name", "v1.0"), (("org/name", None), {**read, "revision": "commit 3"})]
    with pytest.raises(ValueError, match=r"org/name, record 1 has the columns body, not 'text'"):
        list(read_sentences(["org/name"]))
    monkeypatch.setitem(sys.modules, "datasets", None)
    match = "the data set org/name from the Hub needs the package datasets: pip install 'albert-t"
    with pytest.raises(ImportError, match=match):
        list(read_sentences(["org/name"]))


def test_a_pinned_data_set_needs_no_network_and_stays_the_same(
    hub: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: a run that cannot be resumed once the data set has a new commit."""
    commit, later = "0123456789" * 4, "f" * 40
    tokenizer, pinned = letter_tokenizer(), [f"org/name:x@{commit}"]
    prepared = prepare_shards(tmp_path / "c", pinned, tokenizer, BODY, progress=False)
    requests_of_commits = [request for request in hub if isinstance(request[0], str)]
    assert requests_of_commits == []
    monkeypatch.setattr(
        "huggingface_hub.HfApi.dataset_info",
        lambda self, name, revision: types.SimpleNamespace(sha=later),
    )
    match = f"to continue with the old data set, name org/name:x@{commit}. Undo the change"
    with pytest.raises(ValueError, match=match):
        prepare_shards(tmp_path / "c", ["org/name:x"], tokenizer, BODY, progress=False)
    again = prepare_shards(tmp_path / "c", pinned, tokenizer, BODY, progress=False)
    assert again.description == prepared.description
    monkeypatch.undo()
    resolve_commit.cache_clear()
