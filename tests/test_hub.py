"""Finding files in directories and on the Hub, against a small server that imitates the Hub."""

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download

from albert_torch import hub
from albert_torch.hub import Source

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"a": 1}',
    "sub/config.json": b'{"a": 2}',
    "pytorch_model.bin": b"weights",
}


class Hub(BaseHTTPRequestHandler):
    """`org/model` contains FILES on branch main, and `org/gated` is gated; nothing else exists."""

    asked: list[str] = []  # noqa: RUF012 - emptied by the fixture

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        repo, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, filename = rest.partition("/")
        if filename:
            self.asked.append(f"{self.command} {filename}")
        if repo == "org/gated":
            return self.refuse(401, "GatedRepo")
        if repo == "org/broken":
            return self.refuse(400, "Nonsense")
        if repo != "org/model":
            return self.refuse(401, "RepoNotFound")
        if revision not in ("main", COMMIT):
            return self.refuse(404, "RevisionNotFound")
        if filename not in FILES:
            return self.refuse(404, "EntryNotFound")
        self.send_response(200)
        self.send_header("ETag", f'"{filename}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(FILES[filename])))
        self.end_headers()
        if body:
            self.wfile.write(FILES[filename])

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    for module in (constants, file_download):  # where the older and the newer huggingface_hub look
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)


@pytest.fixture
def asked(server: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that the server has received; it takes the place of the Hub."""
    use(monkeypatch, server)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    Hub.asked.clear()
    return Hub.asked


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if anything is requested from the Hub."""
    for name in ("hf_hub_download", "try_to_load_from_cache"):
        monkeypatch.setattr(hub, name, lambda *args, **kwargs: pytest.fail("asked the Hub"))


def test_a_directory_wins_over_a_hub_name(tmp_path, monkeypatch, no_network):
    """Catches: a network call for ./albert/albert-base-v2 in the working directory."""
    (tmp_path / "albert" / "albert-base-v2").mkdir(parents=True)
    (tmp_path / "albert" / "albert-base-v2" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    source = Source("albert/albert-base-v2", revision="main")
    assert source.get("config.json").read_text() == "{}"
    assert source.find("model.safetensors") is None
    with pytest.raises(
        FileNotFoundError, match=r"albert/albert-base-v2 does not contain model.safetensors; check"
    ):
        source.get("model.safetensors")


def test_subfolder_of_a_directory(tmp_path, no_network):
    """Catches: a subfolder that is ignored, or only tried as a fallback."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "config.json").write_text("outer")
    (tmp_path / "sub" / "config.json").write_text("inner")
    assert Source(tmp_path, subfolder="sub").get("config.json").read_text() == "inner"
    assert Source(str(tmp_path), subfolder="other").find("config.json") is None


def test_the_home_directory_is_expanded(tmp_path, monkeypatch, no_network):
    """Catches: "~/model" taken for the name of a directory called "~"."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert Source("~/model").find("config.json") == tmp_path / "model" / "config.json"


@pytest.mark.parametrize(
    "name", ["./x", "../x", "/x/y", "a/b/c", "a\\b", "~/no/such", "", Path("a/b")]
)
def test_a_path_that_does_not_exist_is_not_sent_to_the_network(
    name, tmp_path, monkeypatch, no_network
):
    """Catches: a mistyped path that causes a confusing error of the Hub, or is sent to the Hub."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"is not a directory; pass a directory"):
        Source(name).find("config.json")


def test_a_file_in_place_of_a_directory(tmp_path, no_network):
    """Catches: "is not a directory" for a path that exists, as if it were misspelt."""
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"is a file, not a directory"):
        Source(tmp_path / "model.safetensors").find("config.json")


@pytest.mark.parametrize(
    "filename", ["../secret", "a/../../secret", "/etc/passwd", "C:\\x", "a\\b"]
)
def test_file_names_stay_inside(filename, tmp_path, no_network):
    """Catches: a shard index that can read any file of the machine."""
    with pytest.raises(ValueError, match="leads outside"):
        Source(tmp_path).find(filename)
    with pytest.raises(ValueError, match="leads outside"):
        Source("org/model", subfolder=filename).find("config.json")


def test_only_the_requested_file_is_downloaded_and_only_once(asked, tmp_path):
    """Catches: a download of the whole repository, and a second download of a cached file."""
    source = Source("org/model", cache_dir=tmp_path)
    assert source.get("config.json").read_bytes() == FILES["config.json"]
    assert source.find("model.safetensors") is None
    assert source.get("config.json").read_bytes() == FILES["config.json"]
    assert [line for line in asked if line.startswith("GET")] == ["GET config.json"]


def test_hub_subfolder_and_revision(asked, tmp_path):
    """Catches: subfolder= or revision= that is not passed on to the Hub."""
    source = Source("org/model", revision=COMMIT, subfolder="sub", cache_dir=tmp_path)
    path = source.get("config.json")
    assert path.read_bytes() == FILES["sub/config.json"]
    assert COMMIT in path.parts
    assert str(source) == f"org/model@{COMMIT}/sub"


def test_a_missing_file_of_a_repository(asked, tmp_path):
    """Catches: an error for an optional file, and an error that does not name the missing file."""
    with pytest.raises(
        FileNotFoundError, match=r"^org/model does not contain spiece.model; check the name"
    ):
        Source("org/model", cache_dir=tmp_path).get("spiece.model")


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        (
            "org/unknown",
            None,
            r"org/unknown is neither a local directory nor a model on the Hub.*token=",
        ),
        (
            "org/gated",
            None,
            r"org/gated is gated: accept its conditions at http.*/org/gated, then log in",
        ),
        ("org/model", "v9", r"org/model has no revision 'v9'; pass a branch, a tag"),
        (
            "-bad-",
            None,
            r"'-bad-' is neither a local directory nor a valid name on the Hub \(owner/name\)",
        ),
        ("org/broken", None, r"config.json of org/broken"),
    ],
)
def test_what_the_hub_refuses(name, revision, message, asked, tmp_path):
    """Catches: a traceback of the HTTP library instead of a sentence that says what to do."""
    with pytest.raises(FileNotFoundError, match=message):
        Source(name, revision, cache_dir=tmp_path).find("config.json")


def test_the_hub_cannot_be_reached(asked, tmp_path, monkeypatch):
    """Catches: a cached file that needs the network; "no such file" when the Hub did not answer."""
    source = Source("org/model", cache_dir=tmp_path)
    source.get("config.json")
    assert source.find("model.safetensors") is None
    use(monkeypatch, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the retries
    assert source.get("config.json").read_bytes() == FILES["config.json"]
    assert source.find("model.safetensors") is None, "the Hub said so before"
    with pytest.raises(
        FileNotFoundError, match=r"pytorch_model.bin of org/model is not in the cache, and the"
    ):
        source.find("pytorch_model.bin")
    with pytest.raises(
        FileNotFoundError, match=r"could not download config.json of org/model|cannot be reached"
    ):
        Source("org/model", cache_dir=tmp_path, force_download=True).find("config.json")


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline(how, asked, tmp_path, monkeypatch):
    """Catches: a request in offline mode, and a cached file that is not used."""
    Source("org/model", cache_dir=tmp_path).get("config.json")
    asked.clear()
    if how == "environment":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    source = Source("org/model", cache_dir=tmp_path, local_files_only=how == "argument")
    assert source.get("config.json").read_bytes() == FILES["config.json"]
    assert source.find("pytorch_model.bin") is None, "never asked for: the cache is all there is"
    with pytest.raises(
        FileNotFoundError,
        match=r"the cache of org/model does not contain pytorch_model.bin, and downloads are",
    ):
        source.get("pytorch_model.bin")
    with pytest.raises(
        FileNotFoundError,
        match=r"could not download config.json of org/model: .*force_download=True",
    ):
        replace(source, force_download=True).find("config.json")
    other = Source("org/other", cache_dir=tmp_path, local_files_only=how == "argument")
    with pytest.raises(
        FileNotFoundError,
        match=rf"org/other is not in the cache {re.escape(str(tmp_path))}.*run once",
    ):
        other.find("config.json")
    assert asked == []


def test_an_unexpected_error_is_passed_on(tmp_path, monkeypatch):
    """Catches: "no such model" for a full disk or a timeout during the download."""

    def fails(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, "hf_hub_download", fails)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(
        FileNotFoundError,
        match=r"could not download config.json of org/model: OSError: .*No space left",
    ):
        Source("org/model", cache_dir=tmp_path).find("config.json")
