"""Files of a model on the hub: fetched from a hub of the test's own, on this machine."""

import builtins
import hashlib
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.interop.gpt2 import HUB_NAME, from_hf, hub_file, to_hf
from bhushgpt.tokenizers import CharTokenizer

huggingface_hub = pytest.importorskip("huggingface_hub")
COMMIT = "1" * 40
NOBODY = "http://127.0.0.1:1"  # nobody listens there


class Hub(BaseHTTPRequestHandler):
    """The few answers of the hub that a download of single files asks for."""

    def __init__(self, root: Path, *args) -> None:
        self.root = root
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self.do_GET(with_body=False)

    def do_GET(self, with_body: bool = True) -> None:
        repository, _, rest = self.path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        folder = self.root / repository
        problem = None
        if not folder.is_dir():
            problem = "RepoNotFound"
        elif revision not in ("main", COMMIT):
            problem = "RevisionNotFound"
        elif not (folder / name).is_file():
            problem = "EntryNotFound"
        body = b"" if problem else (folder / name).read_bytes()
        self.send_response(404 if problem else 200)
        if problem:
            self.send_header("X-Error-Code", problem)
        else:
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=11, context_length=8, n_layer=2, n_head=2, n_embd=16))


@pytest.fixture(scope="module")
def hub(tmp_path_factory, model):
    """The address of a hub with two models, one of them without safetensors."""
    root = tmp_path_factory.mktemp("hub")
    to_hf(model, CharTokenizer("abcdefghijk"), root / "someone" / "small")
    (root / "someone" / "pickled").mkdir()
    for name in ("config.json", "pytorch_model.bin"):
        source = root / "someone" / "small" / "config.json"
        (root / "someone" / "pickled" / name).write_bytes(source.read_bytes())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, root))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def ask(hub, tmp_path, monkeypatch):
    """Let the library ask the test's hub, keep what it gets in a folder, and not wait on failure.

    Returned is a function that sets another address.
    """
    real = huggingface_hub.hf_hub_download

    def ask(address: str) -> None:
        asked = partial(real, endpoint=address, cache_dir=tmp_path / "cache")
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", asked)

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    ask(hub)
    return ask


def test_a_model_is_read_from_the_hub_and_then_without_it(ask, model):
    ids = torch.arange(8)[None]
    assert torch.equal(from_hf("someone/small")(ids), model(ids))
    assert torch.equal(from_hf("someone/small", revision=COMMIT)(ids), model(ids))
    ask(NOBODY)  # what was fetched once is read from the cache
    assert torch.equal(from_hf("someone/small")(ids), model(ids))


@pytest.mark.parametrize(
    ("name", "revision", "part"),
    [
        ("someone/nothing", None, "the hub has no model of that name"),
        ("someone/small", "old", "the model has no revision 'old'"),
        ("someone/pickled", None, r"holds no model\.safetensors"),
    ],
)
def test_what_the_hub_has_not_is_said_in_a_sentence(ask, name, revision, part):
    with pytest.raises(UserError, match=part):
        from_hf(name, revision=revision)


def test_a_hub_out_of_reach_is_said_in_a_sentence(ask):
    ask(NOBODY)
    with pytest.raises(UserError, match="the hub cannot be reached"):
        from_hf("someone/small")


def test_without_the_library_a_sentence_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name.partition(".")[0] == "huggingface_hub":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match="pip install huggingface_hub"):
        hub_file("gpt2", "config.json")


@pytest.mark.parametrize("name", ["gpt2", "openai-community/gpt2", "a/b.c_d-1"])
def test_names_on_the_hub_are_known(name):
    assert HUB_NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "../gpt2", "a/b/c", "/gpt2", "a b", "http://x", "a/../b"])
def test_what_is_no_name_on_the_hub_is_not_asked_for(name, monkeypatch):
    monkeypatch.setattr("bhushgpt.interop.gpt2.hub_file", None)  # asking would fail
    assert not HUB_NAME.fullmatch(name)
    with pytest.raises(UserError):
        from_hf(name)
