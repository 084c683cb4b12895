"""Exercises of notebook 10: chances under two settings, a nucleus, a loop that stops, a cache.

Letters: B batch, T time, V vocabulary, S time (all tokens seen), C channels, D head size.

Lesson: notebook 10.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bhushgpt.exercises.exercise import Exercise
from bhushgpt.exercises.same_numbers import mistake_in, same
from bhushgpt.language_model import LanguageModel, eval_mode

Answer = Callable[..., Any]


# 1. Temperature and top-k in one


def _next_chances(logits: Tensor, temperature: float, k: int) -> Tensor:
    scores, ids = logits.topk(min(k, len(logits)))
    chances = torch.zeros_like(logits)
    chances[ids] = (scores / temperature).softmax(dim=-1)
    return chances


def _check_next_chances(answer: Answer) -> str | None:
    logits, temperature, k = torch.tensor([1.0, 2.0, 0.5, 0.0, -1.0]), 0.5, 2
    kept, lowest = logits >= 1.0, logits <= 0.0

    def shares(visible: Tensor, scores: Tensor = logits / temperature) -> Tensor:
        return scores.masked_fill(~visible, -torch.inf).softmax(dim=-1)

    mistakes = {
        "this divides the probabilities by the temperature, so they no longer sum to 1. Divide the "
        "scores, before the softmax.": shares(kept, logits) / temperature,
        "the temperature changes nothing here: probabilities divided by it and made to sum to 1 "
        "again are what they were. Divide the scores.": shares(kept, logits),
        "the scores are multiplied by the temperature, so a low one is daring. Divide.": (
            shares(kept, logits * temperature)
        ),
        "a dropped token with the score 0 still has the chance exp(0) / sum: its score must be "
        "-infinity.": (logits / temperature * kept).softmax(dim=-1),
        "the kept chances do not sum to 1: the rest was taken away after the softmax and nobody "
        "got its share.": (logits / temperature).softmax(dim=-1) * kept,
        "the k lowest scores stayed: the highest must.": shares(lowest),
        "all five tokens still have a chance: k was not used.": (logits / temperature).softmax(-1),
    }
    if first := mistake_in(answer(logits, temperature, k), shares(kept), mistakes):
        return first
    # Which of equal scores stays is free, how many stay is not.
    ties = torch.tensor([1.0, 2.0, 1.0, 1.0, -1.0])
    if (stayed := int((answer(ties, 1.0, 2) > 0).sum())) != 2:
        return f"of the scores 2, 1, 1, 1, -1 and k = 2, {stayed} stay: exactly k may, ties or not."
    if not same(answer(logits, 1.0, 99), logits.softmax(dim=-1)):
        return "right for k = 2, but a k above the vocabulary must keep all tokens."
    if not same(answer(logits, 1.0, 1), torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])):
        return "k = 1 leaves the likeliest token alone, with a chance of 1."
    if not same(answer(logits, 0.001, 3), torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]), 1e-3):
        return (
            "at temperature 0.001 the score 2 becomes 2000, and exp(2000) is infinite: take the "
            "largest score off first, or let softmax do that."
        )
    return None


next_chances = Exercise(
    name="next_chances",
    question="Return the chances of all tokens at a temperature, when only the top k may come.",
    hints=(
        "Three steps: divide, filter, softmax. The softmax comes last.",
        "values, ids = logits.topk(k) gives exactly k, ties or not; min(k, len(logits)) keeps a "
        "large k from failing.",
        "Start from torch.zeros_like(logits) and write the softmax of the k values to their ids.",
    ),
    praise="k tokens stay, their chances sum to 1, and the temperature spreads them.",
    reference=_next_chances,
    axes_of_one=lambda: [(torch.tensor([0.5]), 0.7, 1), (torch.tensor([0.5]), 0.7, 3)],
    keeps_inputs=True,
    checks=_check_next_chances,
)


# 2. How large is the nucleus?


def _nucleus_size(chances: Tensor, p: float) -> Tensor:
    ordered = chances.sort(dim=-1, descending=True).values
    before = ordered.cumsum(dim=-1) - ordered
    return (before < p).sum(dim=-1)


def _check_nucleus_size(answer: Answer) -> str | None:
    # Halves and eighths: their sums are exact.
    chances = torch.tensor([[0.125, 0.5, 0.0625, 0.25, 0.0625], [0.0, 0.0, 0.0, 1.0, 0.0]])
    ordered = chances.sort(dim=-1, descending=True).values
    p = 0.7
    wrong = {
        "the token that crosses p is missing: 0.5 alone is not yet 0.7, so 0.25 belongs to it, "
        "too.": (ordered.cumsum(-1) <= p).sum(-1),
        "the tokens were added up in the order of their ids. The likeliest come first.": (
            (chances.cumsum(-1) - chances < p).sum(-1)
        ),
        "the tokens were added up from the rarest on. The likeliest come first.": (
            (ordered.flip(-1).cumsum(-1) - ordered.flip(-1) < p).sum(-1)
        ),
        "p is no threshold for single tokens: it is what the kept ones must have together.": (
            (chances >= p).sum(-1)
        ),
        "a token stays by what the likelier ones have together, not by whether its own chance is "
        "below p.": (chances < p).sum(-1),
    }
    result = answer(chances, p)
    if result.tolist() == [1, 2]:
        return "rows and sizes are exchanged: one number for each row, in the order of the rows."
    if result.shape != (2,):
        return f"one number for each row is wanted, shape (2,); the shape is {tuple(result.shape)}."
    if result.tolist() != [2, 1]:
        for sentence, numbers in wrong.items():
            if result.tolist() == numbers.tolist():
                return sentence
        return f"for the first row and p = 0.7 the size is 2 (0.5 + 0.25), not {result[0]:g}."
    if (exact := answer(chances, 0.75).tolist()) != [2, 1]:
        return f"0.5 + 0.25 is exactly p = 0.75 and that is enough: the size is 2, not {exact[0]}."
    if answer(chances, 1.0)[0] != 5:
        return "p = 1 keeps every token that has a chance."
    if (size := answer(torch.tensor([[0.333333] * 3]), 1.0)[0]) > 3:
        return (
            "rounded chances may sum to 0.999999, so that p = 1 is never reached: then all V = 3 "
            f"tokens stay, and not {size:g}."
        )
    return None


nucleus_size = Exercise(
    name="nucleus_size",
    question="Return, for each row of chances, how many tokens top-p keeps.",
    hints=(
        "Sort each row, the likeliest first: chances.sort(dim=-1, descending=True).values.",
        "cumsum gives the sum up to and with each token; minus its own chance, the sum before it.",
        "A token stays if what stands before it is still below p. Count along dim=-1.",
    ),
    praise="few where the model is sure, many where it is not.",
    reference=_nucleus_size,
    axes_of_one=lambda: [
        (torch.tensor([[0.125, 0.5, 0.375]]), 0.7),
        (torch.tensor([[1.0], [1.0]]), 0.7),
    ],
    checks=_check_nucleus_size,
)


# 3. A loop that stops


def _write_until(model: LanguageModel, ids: Tensor, n_tokens: int, stop: int) -> Tensor:
    for _ in range(n_tokens):
        with eval_mode(model):
            scores = model(ids[:, -model.context_length :])[:, -1]
        best = scores.argmax(dim=-1, keepdim=True)
        ids = torch.cat([ids, best], dim=1)
        if best.item() == stop:
            break
    return ids


class _Counting(LanguageModel):
    """Goes on counting (3 after 2), by twos in training mode; remembers how it was asked."""

    context_length = 4

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0
        self.recorded_gradients = False

    def forward(self, ids: Tensor) -> Tensor:
        self.longest = max(self.longest, ids.shape[1])
        self.recorded_gradients |= torch.is_grad_enabled()
        following = (ids + (2 if self.training else 1)) % 20
        return torch.nn.functional.one_hot(following, 20).float()


def _check_write_until(answer: Answer) -> str | None:
    prompt, long_prompt = torch.tensor([[2, 3]]), torch.tensor([[1, 2, 3, 4, 5, 6]])
    model = _Counting().train()
    wrong = {
        (2, 3, 5, 7, 9): "the model is in training mode while it writes, so dropout changes the "
        "text: use `with eval_mode(model)`.",
        (2, 3, 3, 3, 3): "the scores of the first position were used: the last one, [:, -1], "
        "predicts the next token.",
        (4, 5, 6): "the prompt is missing: return prompt and new tokens together.",
        (2, 3, 4, 5): "one token too few came: n_tokens counts the new ones.",
        (2, 3, 4, 5, 6, 7): "one token too many came: n_tokens counts the new ones.",
    }
    text = tuple(answer(model, prompt, 3, 19)[0].tolist())
    if text != (2, 3, 4, 5, 6):
        return wrong.get(text, f"after 2 3 this model writes 4 5 6; your text is {text}.")
    if model.recorded_gradients:
        return "gradients are recorded while writing: memory grows with every token."
    return _check_context(answer, long_prompt) or _check_stop(answer, long_prompt)


def _check_context(answer: Answer, prompt: Tensor) -> str | None:
    model = _Counting()
    text = answer(model, prompt, 2, 19)[0].tolist()
    if model.longest > model.context_length:
        return f"the model was given {model.longest} tokens, but it looks at 4: crop what it sees."
    if model.longest < model.context_length:
        return f"the model saw {model.longest} tokens of 6; show it as many as it takes, 4."
    if text != [1, 2, 3, 4, 5, 6, 7, 8]:
        return f"the text itself was cropped: 1 2 3 4 5 6 became {text}. Crop only what goes in."
    return None


def _check_stop(answer: Answer, prompt: Tensor) -> str | None:
    text = answer(_Counting().eval(), prompt, 9, 8)[0].tolist()
    if text == [1, 2, 3, 4, 5, 6, 7]:
        return "the stop token itself belongs to the text: add it, then stop."
    if text != [1, 2, 3, 4, 5, 6, 7, 8]:
        return f"the text must end with the stop token 8, but it goes {text}."
    if answer(_Counting(), prompt, 2, 3).shape[1] != 8:
        return "the stop token of the prompt ended the text: only a new one does."
    if answer(_Counting(), prompt, 2, 6).shape[1] != 8:
        return "a prompt that ends with the stop token is not continued: look at new tokens alone."
    if answer(_Counting(), prompt, 0, 19).shape[1] != 6:
        return "n_tokens = 0 asks for no token at all: the prompt comes back as it is."
    if answer(_Counting(), torch.tensor([[17, 18]]), 5, 0)[0].tolist() != [17, 18, 19, 0]:
        return "a text that should end with token 0 goes wrong: 0 is a token like others."
    return None


write_until = Exercise(
    name="write_until",
    question="Return the prompt and its greedy continuation, up to a stop token.",
    hints=(
        "The loop of this lesson, with argmax as the choice.",
        "`with eval_mode(model):` around the one line that asks the model does three things.",
        "After adding the token: if best.item() == stop: break.",
    ),
    praise="the prompt is whole, the view is cropped, the model is as it was, and it stops.",
    reference=_write_until,
    checks=_check_write_until,
)


# 4. One head with a memory


def _remembering_head(
    new: Tensor,
    positions: Tensor,
    keys: Tensor,
    values: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    x = new + positions[len(keys)]
    keys = torch.cat([keys, (x @ w_k)[None]])
    values = torch.cat([values, (x @ w_v)[None]])
    weights = (keys @ (x @ w_q) / keys.shape[1] ** 0.5).softmax(dim=0)
    return weights @ values, keys, values


def _head(
    new: Tensor,
    place: Tensor,
    keys: Tensor,
    values: Tensor,
    w: Tensor,
    scale: float = 5**-0.5,
    alone: bool = False,
) -> Tensor:
    """Return the output of the new token, with one thing done in another way."""
    x = new + place
    if not alone:
        keys, values = torch.cat([keys, (x @ w[1])[None]]), torch.cat([values, (x @ w[2])[None]])
    return (keys @ (x @ w[0]) * scale).softmax(dim=0) @ values


def _cached(S: int, C: int, D: int) -> tuple[Tensor, ...]:
    """Return what the head gets behind S cached tokens."""
    new, positions, w = torch.randn(C), torch.randn(9, C), torch.randn(3, C, D) * 0.4
    return new, positions, *torch.randn(2, S, D), *w


def _check_remembering_head(answer: Answer) -> str | None:
    new, positions, w = torch.randn(6), torch.randn(9, 6), torch.randn(3, 6, 5) * 0.4
    keys, values = torch.randn(2, 3, 5)
    expected = _remembering_head(new, positions, keys, values, *w)
    out, new_keys, new_values = answer(new, positions, keys, values, *w)
    mistakes = {
        "the new token got position 0, as if it stood at the start: it stands behind the 3 cached "
        "ones.": _head(new, positions[0], keys, values, w),
        "the position is one too far: 3 tokens are cached, on 0, 1 and 2, so the new one has "
        "number 3.": _head(new, positions[4], keys, values, w),
        "the new token got the position of the last cached one.": (
            _head(new, positions[2], keys, values, w)
        ),
        "the new token got no position.": _head(new, torch.zeros(6), keys, values, w),
        "the new token does not attend to itself: append its key and value first.": (
            _head(new, positions[3], keys, values, w, alone=True)
        ),
        "the scores are not divided by the root of the head size.": (
            _head(new, positions[3], keys, values, w, scale=1.0)
        ),
        "the scores are divided by the head size, not by its root.": (
            _head(new, positions[3], keys, values, w, scale=1 / 5)
        ),
    }
    if first := mistake_in(out, expected[0], mistakes):
        return first
    if new_keys.shape == keys.shape or new_values.shape == values.shape:
        return "the cache has not grown: the next token needs this one's key and value."
    if same(new_keys, expected[1].roll(1, 0)):
        return "the new key stands first: the cache keeps the order of the text."
    if not (same(new_keys, expected[1]) and same(new_values, expected[2])):
        return "the output is right, but the returned keys and values are not."
    if not same(answer(new, positions, keys[:0], values[:0], *w)[0], (new + positions[0]) @ w[2]):
        return "right with 3 cached tokens, but not for the first token of a text."
    return None


remembering_head = Exercise(
    name="remembering_head",
    question="Return output, keys and values of one head for one new token behind cached ones.",
    hints=(
        "len(keys) tokens are cached, numbered from 0. Which number has the new one?",
        "Make its key and value and append them with torch.cat; [None] turns a vector into a row.",
        "weights = (keys @ query / D**0.5).softmax(dim=0), then weights @ values.",
    ),
    praise="one row of work a token, and the same numbers as attending all over again.",
    reference=_remembering_head,
    axes_of_one=lambda: [_cached(3, 6, 1), _cached(0, 6, 5), _cached(3, 1, 5)],
    keeps_inputs=True,
    checks=_check_remembering_head,
)
