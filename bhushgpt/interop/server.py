"""One's own model behind a page on this machine: Python computes, the browser shows.

The page is the one of `page.py`; where that has the model in it, this one asks the server for two
things, both as JSON:

    POST /look   {"ids": [...], ...}                  what may come next, and the attention
    POST /write  {"ids": [...] or "prompt": "...", ...}   a line for each new token, as it is drawn

Programs can ask, too, but no other web page: a request must name this machine as its host and carry
JSON, and one that a foreign page sent is refused. It listens on the loopback address alone.

Letters: B batch, T time, V vocabulary, H heads.

Lesson: notebook 17.
"""

import dataclasses
import json
import os
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Lock
from typing import Any, cast

import msgspec
import torch
from torch import Tensor, nn

from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling, decode_stream, generate, prompt_ids, sampling_logits
from bhushgpt.interop.page import described_tokenizer, filled_page
from bhushgpt.kv_cache import Cached
from bhushgpt.language_model import LanguageModel, eval_mode
from bhushgpt.tokenizers import Tokenizer, checked_ids

LOOPBACK = "127.0.0.1"
LARGEST_BODY = 1_000_000  # bytes: far more than any text that the model can look at
READ_AWAY = 64_000_000  # bytes of a body that is too large, read so that the reason is heard
MOST_TOKENS = 20_000  # of one request
CONNECTIONS = 32  # at the same time
PATIENCE = 10  # seconds for the other side to say, or to take, something


class _Request(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What both requests may say."""

    ids: list[int] | None = None
    prompt: str | None = None
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int = 0

    def sampling(self) -> Sampling:
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed is {self.seed}: take 0, or a number of up to 18 digits.")
        names = ("temperature", "top_k", "top_p", "min_p", "seed")
        return Sampling(**{name: getattr(self, name) for name in names})


class _Look(_Request):
    bars: int = 10
    layer: int = -1
    head: int | None = None


class _Write(_Request):
    n_tokens: int = 200


class Server(ThreadingHTTPServer):
    """Serves one model; `serve_forever()` works until `shutdown()`, or until Ctrl-C.

    Args:
        model: Any model of the course, on the device where it shall compute.
        tokenizer: The one it was trained with.
        title: The heading of the page.
        prompt: The beginning of a text that stands in the page when it is opened.
        port: Where to listen; 0 takes any that is free.

    Attributes:
        address: What to open in a browser.

    Raises:
        UserError: If the port is taken or is none, or the page does not know the tokenizer.

    >>> from bhushgpt.bigram import Bigram, BigramConfig
    >>> from bhushgpt.tokenizers import CharTokenizer
    >>> with Server(Bigram(BigramConfig(vocab_size=3)), CharTokenizer("abc")) as server:
    ...     server.address.rpartition(":")[0]
    'http://127.0.0.1'
    """

    daemon_threads = True
    request_queue_size = 128
    # So that a port can be used again at once. On Windows it would let two servers share one.
    allow_reuse_address = os.name == "posix"

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        *,
        title: str = "A small GPT",
        prompt: str = "",
        port: int = 0,
    ) -> None:
        self.tokenizer = tokenizer
        self.model = _with_shown_attention(model).eval()
        self.page = _page(self.model, model.parameter_count(), tokenizer, title, prompt)
        self.turn = Lock()  # the model computes one thing at a time: requests take turns by token
        self._room = BoundedSemaphore(CONNECTIONS)
        if not 0 <= port < 2**16:
            raise UserError(f"The port is {port}: it is a number from 0 to 65535, such as 8000.")
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise UserError(
                f"Port {port} cannot be used ({error.strerror or error}); maybe another program "
                f"listens there already. Take another: --port {port + 1 if port < 2**16 - 1 else 0}"
            ) from None
        port = self.server_address[1]
        self.address = f"http://{LOOPBACK}:{port}"
        self.hosts = [f"{name}:{port}" for name in (LOOPBACK, "localhost")]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, unless too many are at work."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay quiet: what can go wrong with a request was told to whoever sent it."""

    def look(self, asked: _Look) -> dict[str, Any]:
        """Return what may come next, and what the newest token looks at, as the page reads it."""
        sampling, ids = asked.sampling(), self._ids(asked)
        seen = ids[-self.model.context_length :]
        with self.turn:
            logits, weights = _looked(self.model, seen)
        likely = logits.float().softmax(dim=-1)[0]
        chances = sampling_logits(logits, sampling).softmax(dim=-1)[0]
        order = logits[0].argsort(descending=True, stable=True)[: max(asked.bars, 0)].tolist()
        looks: list[float] = []
        if weights:
            if not (-len(weights) <= asked.layer < len(weights)):
                raise UserError(f"layer is {asked.layer}: there are 0 to {len(weights) - 1}.")
            heads = weights[asked.layer]  # (H, T)
            if asked.head is not None and not 0 <= asked.head < len(heads):
                raise UserError(f"head is {asked.head}: there are 0 to {len(heads) - 1}.")
            looks = (heads.mean(dim=0) if asked.head is None else heads[asked.head]).tolist()
        bars = [[i, float(likely[i]), float(chances[i])] for i in order]
        return {"bars": bars, "seen": seen, "looks": looks}

    def write(self, asked: _Write) -> Iterator[dict[str, Any]]:
        """Yield each new token as soon as it is drawn: its id, and its text once that is whole."""
        sampling, ids = asked.sampling(), self._ids(asked)
        if not 0 <= asked.n_tokens <= MOST_TOKENS:
            raise UserError(
                f"n_tokens is {asked.n_tokens}: 0 to {MOST_TOKENS:,} are written at a time."
            )
        return self._written(ids, asked.n_tokens, sampling)

    def _written(self, ids: list[int], n_tokens: int, sampling: Sampling) -> Iterator[dict]:
        device = next(self.model.parameters()).device
        steps = generate(Cached(self.model), torch.tensor([ids], device=device), n_tokens, sampling)
        drawn: list[int] = []

        def new() -> Iterator[int]:
            while True:
                with self.turn:
                    step = next(steps, None)
                if step is None:
                    return
                drawn.append(int(step))
                yield drawn[-1]

        for count, text in enumerate(decode_stream(self.tokenizer, new())):
            # What comes after the last id is the rest of a character that was never finished.
            yield {"id": drawn[count], "text": text} if count < len(drawn) else {"text": text}

    def _ids(self, asked: _Request) -> list[int]:
        if asked.ids is None:
            return prompt_ids(self.tokenizer, asked.prompt or "")
        return checked_ids(asked.ids, self.tokenizer.vocab_size) or prompt_ids(self.tokenizer, "")


class _Handler(BaseHTTPRequestHandler):
    """Reads one request with suspicion and answers it, or says in a sentence why not."""

    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = PATIENCE
    server_version, sys_version = "bhushgpt", ""

    def do_GET(self) -> None:
        """Answer with the page."""
        if self._is_foreign():
            return
        if self.path.partition("?")[0] != "/":
            return self.send_error(404, f"There is no page {self.path[:80]!r} here, only /.")
        self._begin(200, "text/html; charset=utf-8")
        self.wfile.write(self.server.page)

    def do_POST(self) -> None:
        """Answer a request of the page, or of a program."""
        if self._is_foreign():
            return
        try:
            kinds = {"/look": _Look, "/write": _Write}
            body = self._body()
            if body is None:
                return
            if self.path not in kinds:
                return self.send_error(404, f"Nothing answers {self.path[:80]!r}: /look or /write.")
            asked = msgspec.json.decode(body, type=kinds[self.path])
            if isinstance(asked, _Look):
                answer = json.dumps(self.server.look(asked)).encode()
                self._begin(200, "application/json")
                self.wfile.write(answer)
            else:
                lines = self.server.write(asked)  # what cannot be done is known before the first
                self._begin(200, "application/x-ndjson")
                self._send(lines)
        except UserError as error:
            self.send_error(400, str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self.send_error(400, f"The request cannot be read: {error}.")
        except (ConnectionError, TimeoutError):
            pass  # nobody listens any more
        except Exception as error:
            self.send_error(500, f"A mistake of the server's own: {type(error).__name__}: {error}.")

    def _send(self, lines: Iterator[dict[str, Any]]) -> None:
        try:
            for line in lines:
                self.wfile.write(json.dumps(line).encode() + b"\n")
        except UserError as error:  # in the middle, such as weights that are no numbers
            self.wfile.write(json.dumps({"error": str(error)}).encode() + b"\n")

    def _is_foreign(self) -> bool:
        """Refuse what another web page sent here, also under a name that it points at us."""
        hosts = self.server.hosts
        origin = self.headers.get("Origin")
        if self.headers.get("Host") not in hosts:
            self.send_error(403, f"This server answers only as {self.server.address}.")
        elif origin is not None and origin not in [f"http://{host}" for host in hosts]:
            self.send_error(403, "This server answers its own page, and no other one.")
        elif self.headers.get("Sec-Fetch-Site") == "cross-site" and self.command == "POST":
            self.send_error(403, "This server answers its own page, and no other one.")
        else:
            return False
        return True

    def _body(self) -> bytes | None:
        """Return what was sent, or None after saying what is wrong with it."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self.send_error(411, "The request must say its length in bytes (Content-Length).")
        elif len(length) > 18 or int(length) > LARGEST_BODY:
            self._read_away(int(length[:19]))
            self.send_error(413, f"The request is too long: {LARGEST_BODY:,} bytes are read.")
        elif self.headers.get_content_type() != "application/json":
            self._read_away(int(length))
            self.send_error(415, "The request must be JSON (Content-Type: application/json).")
        elif len(body := self.rfile.read(int(length))) < int(length):
            self.send_error(400, "The request ended before the length that it said.")
        else:
            return body
        return None

    def _read_away(self, length: int) -> None:
        """Take a body that nobody wants: closed before, the sender would not hear the reason."""
        left = length if length <= READ_AWAY else 0
        while left > 0 and (piece := self.rfile.read(min(left, 65_536))):
            left -= len(piece)

    def _begin(self, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with one sentence instead of Python's page."""
        sentence = " ".join((message or HTTPStatus(code).phrase).split())
        if len(sentence) > 350:  # it may quote what was sent
            sentence = f"{sentence[:200]} ... {sentence[-140:]}"
        try:
            self._begin(code, "text/plain; charset=utf-8")
            self.wfile.write(sentence.encode("utf-8", "replace") + b"\n")
        except OSError:
            pass  # nobody listens any more
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a library prints nothing."""


def _page(
    model: LanguageModel, parameters: int, tokenizer: Tokenizer, title: str, prompt: str
) -> bytes:
    config: Any = getattr(model, "config", None)
    shows = bool(_shown(model))
    content = {
        "config": {
            "vocab_size": tokenizer.vocab_size,
            "context_length": model.context_length,
            "n_layer": config.n_layer if shows else 0,
            "n_head": config.n_head if shows else 0,
        },
        "parameters": parameters,
        "prompt": prompt,
        "tokenizer": described_tokenizer(tokenizer),
    }
    return filled_page(
        title,
        content,
        ("page_tokenizer.js", "page_served.js", "page_screen.js"),
        about="The model runs in Python, on this machine.",
        server=True,
    )


def _with_shown_attention(model: LanguageModel) -> LanguageModel:
    """Return the same weights in a model whose attention shows its weights (notebook 07)."""
    config: Any = getattr(model, "config", None)
    if getattr(config, "attention_form", "explicit") == "explicit":
        return model
    device = next(model.parameters()).device
    same = dataclasses.replace(config, attention_form="explicit").build().to(device)
    # A table that is head and tokens at once stays one memory, but is two parameters afterwards.
    same.load_state_dict(model.state_dict(), assign=True)
    return same


def _shown(model: nn.Module) -> list[nn.Module]:
    """Return the parts of each layer that its attention weights pass through."""
    blocks: Any = getattr(model, "blocks", [])
    parts = [getattr(getattr(block, "attention", None), "weights", None) for block in blocks]
    return [part for part in parts if isinstance(part, nn.Module)]


def _looked(model: LanguageModel, ids: list[int]) -> tuple[Tensor, list[Tensor]]:
    """Return the last token's logits (1, V), and in each layer what it looks at (H, T)."""
    weights: list[Tensor] = []

    def keep(module: nn.Module, given: Any, shares: Tensor) -> None:
        last = shares[0, :, -1].float()  # (H, T)
        weights.append(last)

    hooks = [part.register_forward_hook(keep) for part in _shown(model)]
    try:
        with eval_mode(model):
            device = next(model.parameters()).device
            logits = model(torch.tensor([ids], device=device))[:, -1]  # (1, V)
    finally:
        for hook in hooks:
            hook.remove()
    return cast(Tensor, logits), weights
