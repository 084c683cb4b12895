"""Looking inside a model while it runs, and changing what flows there, without touching the model.

A tap keeps what a module puts out, a patch replaces it. Both are hooks, functions that torch itself
calls after a module, and both are gone when the `with` ends, however it ends. The stream after
block n is the output of `blocks.n`, attention weights that of `blocks.n.attention.weights`.

Letters: B batch, T time, S time (the tokens looked at), C channels, H heads, L blocks, V
vocabulary.

Lesson: notebook 21.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT
from bhushgpt.language_model import eval_mode

Patch = Callable[[Tensor], Tensor]


@contextmanager
def taps(model: nn.Module, *names: str) -> Iterator[dict[str, Tensor]]:
    """Keep what the named modules put out while the model runs inside the `with`.

    Args:
        model: Any model; nothing of it is changed.
        names: Of modules, as `model.named_modules()` spells them.

    Yields:
        Name -> output of the module's last call; empty until the model has run. They are copies
        without gradients: whatever is done to them cannot reach the model.

    Raises:
        UserError: For a name that no module has, with the nearest ones; when the `with` ends, for
            one that did not run though the model did, or that puts out something else than a
            tensor.

    >>> model = nn.Sequential(nn.Linear(3, 5), nn.ReLU())
    >>> with taps(model, "0") as seen:
    ...     result = model(torch.ones(2, 3))
    >>> torch.equal(seen["0"].relu(), result)
    True
    """
    modules = _named(model, names)
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            seen[name] = _tensor(name, output).detach().clone()

        return hook

    with _hooks(model, {name: (module, keep(name)) for name, module in modules.items()}) as ran:
        yield seen
    _all_ran(model, modules, ran)


@contextmanager
def patches(model: nn.Module, changes: Mapping[str, Patch]) -> Iterator[None]:
    """Replace what the named modules put out, each time that the model runs inside the `with`.

    Patches and taps on one module come in the order in which they were entered: taps inside the
    `with` of a patch see what it changed.

    Args:
        model: Any model; nothing of it is changed.
        changes: Name of a module -> a function of (a copy of) its output that returns what is to
            flow on: of the same shape, kind of number and device.

    Raises:
        UserError: As `taps` does; and where a function returns what does not fit.

    >>> model = nn.Sequential(nn.Linear(3, 5), nn.ReLU())
    >>> with patches(model, {"0": lambda output: torch.zeros_like(output)}):
    ...     model(torch.ones(2, 3)).sum().item()
    0.0
    """
    modules = _named(model, changes)

    def replace(name: str, change: Patch) -> Callable[[nn.Module, object, Tensor], Tensor]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
            # A copy: the output may be a view of weights, as positions are.
            return _fitting(name, output, change(_tensor(name, output).clone()))

        return hook

    hooks = {name: (module, replace(name, changes[name])) for name, module in modules.items()}
    with _hooks(model, hooks) as ran:
        yield
    _all_ran(model, modules, ran)


# Patches that come up again and again


def without_heads(*heads: int) -> Patch:
    """Return the patch of attention weights that silences these heads: they gather nothing.

    >>> silenced = without_heads(1)(torch.full((2, 3, 5, 5), 0.2))
    >>> silenced[:, 1].sum().item(), silenced[:, 0].allclose(torch.tensor(0.2))
    (0.0, True)
    """

    def change(weights: Tensor) -> Tensor:
        wrong = [head for head in heads if not 0 <= head < weights.shape[1]]
        if wrong:
            raise UserError(
                f"There is no head {wrong[0]}: this layer has {weights.shape[1]}, numbered 0 to "
                f"{weights.shape[1] - 1}."
            )
        kept = torch.ones(weights.shape[1], dtype=weights.dtype, device=weights.device)
        kept[list(heads)] = 0
        return weights * kept[:, None, None]  # (B, H, T, S)

    return change


def moved_in(donor: Tensor, *places: int) -> Patch:
    """Return the patch that puts in what stood at these places in another run, (B, T, C).

    Args:
        donor: Output of the same module in that run, (B, T, C) or (1, T, C).
        places: Positions in the text; the others stay as they are.

    >>> moved_in(torch.ones(1, 3, 1), 2)(torch.zeros(1, 3, 1)).flatten().tolist()
    [0.0, 0.0, 1.0]
    """

    def change(output: Tensor) -> Tensor:
        if donor.shape[1:] != output.shape[1:]:
            raise UserError(
                f"The other run's output has the shape {tuple(donor.shape)}, this one's "
                f"{tuple(output.shape)}: run both on texts of the same length."
            )
        output[:, list(places)] = donor[:, list(places)]
        return output

    return change


# What can be read off


def previous_token_scores(weights: Tensor) -> Tensor:
    """Return the mean weight that each head gives to the token just before: (H,).

    Args:
        weights: (B, H, T, S) with S = T, as tapped at `attention.weights`.

    >>> one_back = torch.eye(5).roll(-1, dims=1)[None, None]
    >>> previous_token_scores(one_back).item()
    1.0
    """
    return weights.diagonal(-1, dim1=-2, dim2=-1).mean(dim=(0, 2))


def induction_scores(weights: Tensor, period: int) -> Tensor:
    """Return how much each head looks at what followed the token when it stood there before: (H,).

    On a text that repeats every `period` tokens, the token at t stood at t - period before, and
    what followed it there at t - period + 1. The score is the mean weight that the queries from
    `period` on give to that place: 1 for a perfect induction head.

    Args:
        weights: (B, H, T, S) with S = T, of such texts whose tokens are otherwise random.
        period: At least 2, and below T.

    Raises:
        UserError: If no query has a whole period before it.

    Source: Olsson et al., "In-context learning and induction heads", arXiv 2209.11895.

    >>> perfect = torch.eye(6)[[0, 0, 0, 1, 2, 3]][None, None]
    >>> induction_scores(perfect, period=3).item()
    1.0
    """
    if not 2 <= period < weights.shape[-1]:
        raise UserError(
            f"The period is {period}, but these weights are of {weights.shape[-1]} tokens: it must "
            f"be from 2 to {weights.shape[-1] - 1}, so that something is repeated."
        )
    # The first entry of this diagonal belongs to the last token of the first round: it has not
    # stood there before.
    stripe = weights.diagonal(1 - period, dim1=-2, dim2=-1)[..., 1:]
    return stripe.mean(dim=(0, 2))


def logit_lens(model: GPT, ids: Tensor) -> Tensor:
    """Return the logits as they would be if the model ended after each block: (L + 1, B, T, V).

    The stream before the first block and after each one is given to the last norm and the head.
    The last entry equals `model(ids)`.

    Args:
        model: A GPT.
        ids: (B, T).

    Source: nostalgebraist, "Interpreting GPT: the logit lens", 2020.

    >>> from bhushgpt.gpt import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=5, n_layer=2, n_head=3, n_embd=12))
    >>> logit_lens(model, torch.zeros(1, 5, dtype=torch.long)).shape
    torch.Size([3, 1, 5, 7])
    """
    # `dropout` stands behind the sum of token and position vectors: the stream as it begins.
    names = ["dropout", *(f"blocks.{n}" for n in range(len(model.blocks)))]
    with eval_mode(model), taps(model, *names) as seen:
        model(ids)
        streams = torch.stack([seen[name] for name in names])  # (L+1, B, T, C)
        return model.head(model.norm(streams))  # (L+1, B, T, V)


# Hooks, put on together and taken off together


@contextmanager
def _hooks(
    model: nn.Module, hooks: Mapping[str, tuple[nn.Module, Callable[..., Tensor | None]]]
) -> Iterator[set[str]]:
    """Hang the hooks on; yield the names of those that were called, "" for the model itself."""
    ran: set[str] = set()

    def note(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: ran.add(name)

    with ExitStack() as stack:
        stack.callback(model.register_forward_hook(note("")).remove)
        for name, (module, hook) in hooks.items():
            stack.callback(module.register_forward_hook(note(name)).remove)
            stack.callback(module.register_forward_hook(hook).remove)
        yield ran


def _named(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Module]:
    """Return the modules of these names, or refuse before a single hook hangs anywhere."""
    known = dict(model.named_modules(remove_duplicate=False))
    del known[""]
    names = list(names)
    for name in names:
        if not isinstance(name, str):
            raise UserError(f"A module is named by a text such as 'blocks.0'; {name!r} came.")
        if name not in known:
            close = get_close_matches(name, known, n=3, cutoff=0.3)
            nearest = f" Nearest: {', '.join(map(repr, close))}." if close else ""
            raise UserError(
                f"The model has no module {name!r}.{nearest} All names: "
                "[name for name, module in model.named_modules()]."
            )
    return {name: known[name] for name in names}


def _all_ran(model: nn.Module, modules: Mapping[str, nn.Module], ran: set[str]) -> None:
    """Refuse a tap that could not see anything: silence would look like a measurement."""
    idle = [name for name in modules if name not in ran]
    if not idle or "" not in ran:
        return
    name = idle[0]
    if isinstance(modules[name], nn.ModuleList):
        raise UserError(f"{name!r} is a list and computes nothing itself: name one, '{name}.0'.")
    raise UserError(
        f"{name!r} did not run while the model did. If it holds attention weights: only the "
        'explicit form has them, GPTConfig(..., attention_form="explicit"); a model with the same '
        "weights takes them by load_state_dict."
    )


def _tensor(name: str, output: object) -> Tensor:
    if not isinstance(output, Tensor):
        raise UserError(
            f"{name!r} puts out a {type(output).__name__}, not a tensor: name one of its parts."
        )
    return output


def _fitting(name: str, before: Tensor, after: object) -> Tensor:
    def kind(value: Tensor) -> str:
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')} on {value.device}"

    came = kind(after) if isinstance(after, Tensor) else f"a {type(after).__name__}"
    if came != kind(before):
        raise UserError(
            f"The patch of {name!r} returned {came}, but {kind(before)} must flow on. "
            "The model is as it was."
        )
    assert isinstance(after, Tensor)
    return after
