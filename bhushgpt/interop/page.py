"""One's own model as one web page that writes: no server, no network, no library.

The page is `page.html` (what stands where), `page_screen.js` (buttons, bars and the attention),
`page_tokenizer.js`, and `page_gpt.js`, the GPT in plain JavaScript. Every matrix travels as int8
numbers with a float32 scale for each row, every vector (biases, norms) as float32, all of it in
base64. `server.py` fills the same template for a page whose model stays in Python.

Letters: O rows of a matrix, I columns.

Lesson: notebook 17.
"""

import base64
import copy
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from bhushgpt.bpe import BPETokenizer
from bhushgpt.environment import written_out
from bhushgpt.errors import UserError
from bhushgpt.files import write_atomically
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.positions import Positions
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer

LARGEST = 16_000_000
"""Bytes of a page, unless told otherwise: about 12 million parameters, a few tokens a second."""
BASE64 = 4 / 3 * 77 / 76
"""Bytes of a page for a byte of weights: four characters for three, and line ends."""


def write_page(
    model: nn.Module,
    tokenizer: Tokenizer,
    path: str | Path,
    *,
    title: str = "A small GPT",
    prompt: str = "",
    largest: int = LARGEST,
) -> Path:
    r"""Write one HTML file that holds the model and writes with it wherever it is opened.

    It appears whole or not at all; an older page of that name is replaced.

    Args:
        model: A `GPT`, on any device and in any precision.
        tokenizer: The one it was trained with.
        path: The file to write, with a name that ends in `.html`.
        title: The heading of the page.
        prompt: The beginning of a text that stands in the page when it is opened.
        largest: The most bytes that the page may have.

    Returns:
        The file.

    Raises:
        UserError: If the page's JavaScript does not compute such a model or does not know such a
            tokenizer, the two do not belong together, the page would be larger than `largest`, or
            the file cannot be written.

    >>> import tempfile
    >>> tokenizer = CharTokenizer("\n aehmst")
    >>> model = GPT(GPTConfig(vocab_size=8, context_length=16, n_layer=1, n_head=2, n_embd=12))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write_page(model, tokenizer, f"{folder}/mine.html", title="Mine")
    ...     "<title>Mine</title>" in page.read_text()
    True
    """
    path = written_out(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(
            f"The page's name is {path.name!r}: it must end in .html, or no browser opens it."
        )
    gpt = _known(model)
    described = described_tokenizer(tokenizer)
    if tokenizer.vocab_size != gpt.config.vocab_size:
        raise UserError(
            f"The model knows {gpt.config.vocab_size} tokens and the tokenizer has "
            f"{tokenizer.vocab_size}: give the tokenizer that the model was trained with."
        )
    fields = ("vocab_size", "context_length", "n_layer", "n_head", "n_embd", "position")
    content = {
        "config": {name: getattr(gpt.config, name) for name in fields},
        "parameters": gpt.parameter_count(),
        "parts": {name: list(part.shape) for name, part in _parts(gpt).items()},
        "prompt": prompt,
        "tokenizer": described,
    }
    _check_size(gpt, len(_alone(title, content, b"")), largest)
    page = _alone(title, content, _packed(gpt))
    try:
        write_atomically(path, page)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from None
    return path


def page_weights(model: nn.Module) -> GPT:
    """Return a copy of the model with the numbers that its page computes with.

    What int8 costs can so be measured in PyTorch: the copy's held-out loss is the page's.

    Args:
        model: A `GPT`.

    Returns:
        A float32 `GPT` on the CPU, in evaluation mode; each weight is a whole number of its row's
        steps.

    Raises:
        UserError: If the page's JavaScript does not compute such a model, or a weight is no
            number.

    >>> model = GPT(GPTConfig(vocab_size=7, context_length=8, n_layer=1, n_head=2, n_embd=12))
    >>> row = page_weights(model).blocks[0].mlp.widen.weight[0]
    >>> steps = row / row.abs().max() * 127
    >>> torch.allclose(steps, steps.round(), atol=1e-4)
    True
    """
    same = copy.deepcopy(_known(model)).to("cpu", torch.float32).eval().requires_grad_(False)
    for part in _parts(same).values():
        if part.dim() == 2:
            steps, scales = _int8(part)
            part.copy_(steps * scales[:, None])
    return same


def _int8(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return whole numbers from -127 to 127 (O, I) and what one of them is worth in each row."""
    scales = matrix.abs().amax(dim=1).clamp(min=1e-12) / 127  # (O,)
    steps = (matrix / scales[:, None]).round()  # (O, I)
    return steps.to(torch.int8), scales


def _known(model: nn.Module) -> GPT:
    """Return the model if it is exactly what `page_gpt.js` computes; refuse it by name if not."""
    kind = type(model).__name__
    if type(model) is not GPT or type(model.config) is not GPTConfig:
        settings = type(getattr(model, "config", None)).__name__
        raise UserError(
            f"This is a {kind} with the settings {settings}, but a page computes a GPT with a "
            "GPTConfig, exactly as notebook 09 builds it."
        )
    with torch.device("meta"):
        expected = GPT(model.config)
    # The printed form names every part with its sizes, the form of its GELU and its epsilon.
    differing = set(repr(model).splitlines()) - set(repr(expected).splitlines())
    if differing:
        raise UserError(
            f"This GPT has a part that a page does not compute: {min(differing).strip()}. Give "
            "the model as notebook 09 builds it, without wrappers or replaced layers."
        )
    return model


def _parts(model: GPT) -> dict[str, Tensor]:
    """Return what the page needs by its name in the model; a tied head is the table of tokens."""
    parts = dict(model.named_parameters())
    if model.positions is not None:  # fixed waves are no parameters
        parts["positions.weight"] = cast(Positions, model.positions).weight
    return {name: part.detach() for name, part in parts.items()}


def _packed(model: GPT) -> bytes:
    """Return the numbers of all parts: first float32 vectors and scales, then int8 matrices."""
    floats, steps = [], []
    for name, part in _parts(model).items():
        part = part.cpu().float()
        if not part.isfinite().all():
            raise UserError(
                f"{name} holds a value that is no number: the model was spoilt, usually by a "
                "diverged training run. Load an earlier checkpoint."
            )
        if part.dim() == 2:
            whole, part = _int8(part)
            steps.append(whole.numpy().tobytes())
        floats.append(part.numpy().astype("<f4").tobytes())
    return b"".join(floats + steps)


def _check_size(model: GPT, frame: int, largest: int) -> None:
    """Refuse a model whose page, `frame` bytes without its weights, would be too large."""
    shapes = [part.shape for part in _parts(model).values()]
    numbers = sum(4 * shape[0] + (prod(shape) if len(shape) == 2 else 0) for shape in shapes)
    size = frame + numbers * BASE64
    if size > largest:
        fit = max(largest - frame, 0) / BASE64
        raise UserError(
            f"A page of this model would have {size / 1e6:,.1f} MB for its "
            f"{model.parameter_count():,} parameters, and {largest / 1e6:,.1f} MB are allowed, so "
            f"about {fit / 1e6:,.1f} million parameters fit: train a smaller model, such as the "
            "preset gpt-v1 with 0.8 million, or give write_page, in Python, a larger `largest`."
        )


def described_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the tokenizer as the page reads it: the bytes of every token, as characters."""
    if isinstance(tokenizer, CharTokenizer):
        tokens = [one.encode("utf-8", "surrogatepass") for one in tokenizer.characters]
        ordinary = len(tokens)
    elif isinstance(tokenizer, ByteTokenizer):
        tokens = [bytes([byte]) for byte in range(tokenizer.vocab_size)]
        ordinary = len(tokens)
    elif isinstance(tokenizer, BPETokenizer):
        tokens = tokenizer.tokens
        ordinary = len(tokens) - len(tokenizer.special_ids)
    else:
        raise UserError(
            f"A page does not know the tokenizer {type(tokenizer).__name__}: it knows "
            "CharTokenizer, ByteTokenizer and BPETokenizer."
        )
    names = [token.decode("latin-1") for token in tokens]
    return {"kind": tokenizer.kind, "tokens": names, "ordinary": ordinary}


def _alone(title: str, content: dict[str, Any], weights: bytes) -> bytes:
    """Return the page that holds its model."""
    return filled_page(
        title,
        content,
        ("page_tokenizer.js", "page_gpt.js", "page_alone.js", "page_screen.js"),
        about="The model is in this page: it runs here and asks no server.",
        weights=base64.encodebytes(weights).decode(),
    )


def filled_page(
    title: str,
    content: dict[str, Any],
    scripts: Sequence[str],
    *,
    about: str,
    weights: str = "",
    server: bool = False,
) -> bytes:
    """Return the template with its gaps filled, each once, whatever stands in them.

    Args:
        title: The heading.
        content: What the scripts read: config, parameters, prompt, tokenizer.
        scripts: Files of this folder, in the order in which they run.
        about: Where the model is.
        weights: In base64.
        server: Whether the page may ask the server that it came from.
    """
    folder = files("bhushgpt.interop")
    style = (folder / "page.css").read_text("utf-8")
    texts = [(folder / name).read_text("utf-8") for name in scripts]
    policy = f"style-src {_fingerprint(style)}; script-src {' '.join(map(_fingerprint, texts))}"
    gaps = {
        "title": html.escape(title),
        "about": about,
        "policy": policy + ("; connect-src 'self'" if server else ""),
        "page.css": style,
        # In JSON every "<" may be written so; written plainly, "</script>" would end the script.
        "content": json.dumps(content, separators=(",", ":")).replace("<", "\\u003c"),
        "weights": weights,
        "scripts": "\n".join(f"<script>{text}</script>" for text in texts),
    }
    template = (folder / "page.html").read_text("utf-8")
    return re.sub(r"\{\{(.+?)\}\}", lambda gap: gaps[gap[1]], template).encode()


def _fingerprint(text: str) -> str:
    """Return how a page's security policy names the one script or style that it allows."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
