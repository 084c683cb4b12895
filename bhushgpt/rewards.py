"""Learning from a checked answer alone: answers are drawn, rewarded, and made likelier or rarer.

Letters: B answers, G answers to the same question (a group), Q tokens of a question, A tokens of
an answer, V vocabulary.

Lesson: notebook 23.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bhushgpt.checked_tasks import Problem, Reward, Task, checked_rewards, exact
from bhushgpt.errors import UserError
from bhushgpt.kv_cache import Cached
from bhushgpt.language_model import LanguageModel, draw, eval_mode, token_losses
from bhushgpt.optimizers import parameter_groups
from bhushgpt.training import NonFinite

# Answers: drawn, and their probabilities


@dataclass(frozen=True)
class Samples:
    """Answers that a model drew."""

    ids: Tensor
    """(B, Q + A) questions and answers; behind the end mark there are only end marks."""
    mask: Tensor
    """(B, A) true for the tokens that were drawn, the end mark included."""
    log_probs: Tensor
    """(B, A) ln p of each token by the model that drew it."""


def sample_answers(
    model: LanguageModel, questions: Tensor, task: Task, generator: torch.Generator
) -> Samples:
    """Draw one answer to each question, at temperature 1, all at the same time.

    Args:
        model: A GPT; nothing of it is changed.
        questions: (B, Q), on the model's device.
        task: Says where an answer ends.
        generator: The source of randomness, on the CPU.
    """
    cached = Cached(model, capacity=questions.shape[1] + task.answer_length)
    ids, masks, log_probs = questions, [], []
    writing = torch.ones_like(questions[:, 0], dtype=torch.bool)
    with eval_mode(model):
        for _ in range(task.answer_length):
            logits = cached(ids)[:, -1]  # (B, V)
            new = draw(logits, generator).masked_fill(~writing[:, None], task.end_id)  # (B, 1)
            log_probs.append(logits.float().log_softmax(-1).gather(1, new)[:, 0])
            masks.append(writing)
            writing = writing & (new[:, 0] != task.end_id)
            ids = torch.cat([ids, new], dim=1)
    return Samples(ids, torch.stack(masks, dim=1), torch.stack(log_probs, dim=1))


def answer_log_probs(model: LanguageModel, ids: Tensor, n_answer: int) -> Tensor:
    """Return ln p of the last `n_answer` tokens of each row, with gradients: (B, A)."""
    logits = model(ids[:, :-1])[:, -n_answer:]  # (B, A, V)
    return -token_losses(logits, ids[:, -n_answer:])


def write_answers(
    model: LanguageModel, task: Task, problems: Sequence[Problem], n: int = 1, seed: int = 0
) -> list[list[str]]:
    """Return n drawn answers to each problem, as texts."""
    device = next(model.parameters()).device
    questions = task.questions(problems).to(device).repeat_interleave(n, dim=0)  # (B, Q)
    samples = sample_answers(model, questions, task, torch.Generator().manual_seed(seed))
    written = task.texts(samples.ids[:, questions.shape[1] :])
    return [written[start : start + n] for start in range(0, len(written), n)]


def pass_at_1(
    model: LanguageModel, task: Task, problems: Sequence[Problem], n: int = 1, seed: int = 0
) -> float:
    """Return the share of drawn answers that are right: n answers to each problem."""
    written = write_answers(model, task, problems, n, seed)
    right = [exact(p, text) for p, texts in zip(problems, written, strict=True) for text in texts]
    return sum(right) / len(right)


# Losses: all are minimised, so a reward enters with a minus


def reinforce_loss(log_probs: Tensor, mask: Tensor, advantages: Tensor) -> Tensor:
    """Return the loss whose gradient is minus the policy gradient: -mean(advantage * ln p).

    Args:
        log_probs: (B, A) of the drawn tokens, with gradients, by the model that drew them.
        mask: (B, A) true for the tokens that were drawn.
        advantages: (B,) reward minus a baseline that the answer itself has no part in.

    Source: Williams, "Simple statistical gradient-following algorithms", 1992.
    """
    return -(advantages * (log_probs * mask).sum(dim=1)).mean()


def grpo_advantages(rewards: Tensor, eps: float = 1e-4) -> Tensor:
    """Return how much better than its group each answer is, in standard deviations: (_, G).

    A group whose answers are all equally good teaches nothing: its advantages are 0.

    Args:
        rewards: (_, G), one row for each question.
        eps: Added to the standard deviation (over G, not G - 1) of a group.

    Raises:
        UserError: For groups of one: an answer alone is always as good as its own mean.

    Source: Shao et al., arXiv 2402.03300.

    >>> grpo_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]), eps=0)
    tensor([[ 1.7321, -0.5774, -0.5774, -0.5774],
            [ 0.0000,  0.0000,  0.0000,  0.0000]])
    """
    if rewards.shape[1] < 2:
        raise UserError(
            "A group of one answer has nothing to be compared with: its advantage is always 0. "
            "Draw at least 2 answers to each question (group_size), 4 to 16 are usual."
        )
    centred = rewards - rewards.mean(dim=1, keepdim=True)  # (_, G)
    spread = centred.square().mean(dim=1, keepdim=True).sqrt() + eps  # (_, 1)
    return torch.where(centred == 0, 0.0, centred / spread)


def grpo_loss(
    log_probs: Tensor, old_log_probs: Tensor, mask: Tensor, advantages: Tensor, clip: float = 0.2
) -> Tensor:
    """Return minus the clipped objective, averaged over an answer's tokens, then over answers.

    A token's probability may change by the factor 1 - clip to 1 + clip; beyond that its gradient
    is 0 where going on would seem to pay. Before the first update every factor is 1.

    Args:
        log_probs: (B, A) by the model as it is now, with gradients.
        old_log_probs: (B, A) by the model that drew the answers.
        mask: (B, A) true for the tokens that were drawn.
        advantages: (B,) one for a whole answer.
        clip: The share by which a probability may change.

    Source: Shao et al., arXiv 2402.03300; clipping: Schulman et al., arXiv 1707.06347.
    """
    ratio = (log_probs - old_log_probs).exp()  # (B, A)
    limited = ratio.clamp(1 - clip, 1 + clip)  # (B, A)
    gain = torch.minimum(ratio * advantages[:, None], limited * advantages[:, None])  # (B, A)
    return -((gain * mask).sum(dim=1) / mask.sum(dim=1)).mean()


def kl_to_start(log_probs: Tensor, start_log_probs: Tensor, mask: Tensor) -> Tensor:
    """Return, for each drawn answer, an estimate in nats of how far the model left its start: (B,).

    The mean over the model's own answers is KL(model || start) exactly, no token counts below 0:
    each one counts r - 1 - ln r with r = p_start / p. (As a loss, with the answers held fixed, its
    gradient is that of KL(start || model), which has the same minimum.)

    Args:
        log_probs: (B, A) of tokens that the model itself drew.
        start_log_probs: (B, A) of the same tokens by the model before it was rewarded.
        mask: (B, A) true for the tokens that were drawn.

    Source: Schulman, "Approximating KL divergence", 2020, there called k3.
    """
    log_ratio = start_log_probs - log_probs  # (B, A)
    return ((log_ratio.exp() - 1 - log_ratio) * mask).sum(dim=1)


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    start_chosen: Tensor,
    start_rejected: Tensor,
    beta: float = 0.1,
) -> Tensor:
    """Return the mean loss of pairs in which one answer is preferred to the other.

    Args:
        chosen: (B,) ln p of the whole preferred answers, with gradients.
        rejected: (B,) ln p of the others, with gradients.
        start_chosen: (B,) ln p of the preferred answers by the start.
        start_rejected: (B,) ln p of the others by the start.
        beta: How hard the model is held to its start; small lets it go far.

    Source: Rafailov et al., arXiv 2305.18290, equation 7.

    >>> same = torch.tensor([-2.0])
    >>> round(dpo_loss(same, same, same, same).item(), 4)  # ln 2: the pair is undecided
    0.6931
    """
    margin = (chosen - start_chosen) - (rejected - start_rejected)  # (B,)
    return -F.logsigmoid(beta * margin).mean()


# Training


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """How a model learns from rewards. Frozen: another setting is another run.

    Raises:
        UserError: If settings cannot be used; one message names all of them.

    >>> RewardConfig(group_size=1)
    Traceback (most recent call last):
    bhushgpt.errors.UserError: These reward settings cannot be used: group_size is 1, but an \
answer's advantage is measured against its group: draw at least 2.
    """

    steps: int = 150
    """Rounds of drawing, checking and learning."""
    method: Literal["grpo", "reinforce"] = "grpo"
    """grpo compares an answer with its group, reinforce with the mean of the whole step."""
    questions_per_step: int = 128
    """Different questions in a round."""
    group_size: int = 4
    """G, answers drawn to each question."""
    updates_per_step: int = 2
    """Optimizer steps with the same answers; with reinforce only 1."""
    learning_rate: float = 2e-3
    """AdamW's rate in the first round; it falls in a straight line to 0 after the last."""
    weight_decay: float = 0.1
    """AdamW's pull of the matrices towards zero."""
    clip: float = 0.2
    """The share by which a token's probability may change in a round (grpo)."""
    kl_weight: float = 0.0
    """What a nat of distance to the start costs, in rewards."""
    max_grad_norm: float = 1.0
    """Longer gradients are shortened to this length."""
    seed: int = 0
    """Decides questions and answers."""

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)}, it must be a whole number of at least 1"
            for name in ("steps", "questions_per_step", "group_size", "updates_per_step")
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= 1)
        ]
        wrong += [
            f"{name} is {getattr(self, name)}, it must be a finite number of at least 0"
            for name in ("learning_rate", "weight_decay", "clip", "kl_weight")
            if not 0 <= getattr(self, name) < math.inf
        ]
        if not self.max_grad_norm > 0:
            wrong.append(f"max_grad_norm is {self.max_grad_norm}, it must be above 0")
        if self.method not in ("grpo", "reinforce"):
            wrong.append(f"method is {self.method!r}, there are grpo, reinforce")
        if self.method == "grpo" and self.group_size == 1:
            wrong.append(
                "group_size is 1, but an answer's advantage is measured against its group: draw "
                "at least 2"
            )
        if self.method == "reinforce" and self.updates_per_step != 1:
            wrong.append(
                f"updates_per_step is {self.updates_per_step}, but reinforce holds only for "
                "answers of the present weights: set it to 1"
            )
        if wrong:
            raise UserError("These reward settings cannot be used: " + "; ".join(wrong) + ".")


@dataclass
class RewardState:
    """All that changes while a model is rewarded, and the start that it is compared with."""

    model: LanguageModel
    """The policy: the weights that learn."""
    start: LanguageModel
    """A copy of the weights before the first reward."""
    optimizer: torch.optim.Optimizer
    """AdamW's running means."""
    step: int = 0
    """How many rounds are done."""

    @classmethod
    def fresh(cls, model: LanguageModel, config: RewardConfig) -> "RewardState":
        """Return the state before the first round."""
        start = copy.deepcopy(model).requires_grad_(False).eval()
        groups = parameter_groups(model, config.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99))
        return cls(model, start, optimizer)


@dataclass(frozen=True, kw_only=True)
class RewardReport:
    """What one round of rewards has to say."""

    step: int
    """Rounds done, this one included."""
    reward: float
    """Mean reward of the drawn answers, before the round changed the weights."""
    undecided: float
    """Share of groups with different rewards: only these teach."""
    kl: float
    """Estimated distance to the start, nats an answer, before this round's updates."""
    length: float
    """Mean tokens of an answer, end mark included."""
    grad_norm: float
    """Length of the last gradient before clipping."""
    examples: tuple[tuple[str, str, float], ...]
    """(question, what was written, its reward) of the first group: read them."""


def train_with_rewards(
    state: RewardState, task: Task, config: RewardConfig, reward: Reward = exact
) -> Iterator[RewardReport]:
    """Draw, check and learn from `state.step` to `config.steps`, with a report after every round.

    The loop is the caller's, as with `train`. The questions and the chance in the answers of
    round n depend on n and the seed alone, so breaking off and going on changes nothing.

    Args:
        state: Changed in place.
        task: Its training problems are asked.
        config: Settings of the run.
        reward: What an answer is worth.

    Raises:
        UserError: If a reward is not a finite number; the weights are those before the round.
        NonFinite: If a gradient is not finite; the weights are those before that update.
    """
    while state.step < config.steps:
        yield _round(state, task, config, reward)


def _round(state: RewardState, task: Task, config: RewardConfig, reward: Reward) -> RewardReport:
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + state.step)
    device = next(state.model.parameters()).device
    places = torch.randint(len(task.train), (config.questions_per_step,), generator=generator)
    problems = [task.train[place] for place in places.tolist() for _ in range(config.group_size)]
    questions = task.questions(problems).to(device)  # (B, Q)
    samples = sample_answers(state.model, questions, task, generator)
    written = task.texts(samples.ids[:, questions.shape[1] :])
    rewards = checked_rewards(problems, written, reward).view(-1, config.group_size)  # (_, G)
    with torch.no_grad():
        start_log_probs = answer_log_probs(state.start, samples.ids, task.answer_length)
    kl = kl_to_start(samples.log_probs, start_log_probs, samples.mask).mean().item()
    norm = _learn(state, config, samples, start_log_probs, rewards.to(device))
    state.step += 1
    first = list(zip(problems, written, rewards.flatten().tolist(), strict=True))
    return RewardReport(
        step=state.step,
        reward=rewards.mean().item(),
        undecided=(rewards != rewards[:, :1]).any(dim=1).float().mean().item(),
        kl=kl,
        length=samples.mask.sum(dim=1).float().mean().item(),
        grad_norm=norm,
        examples=tuple((p.question, text, value) for p, text, value in first[: config.group_size]),
    )


def _learn(
    state: RewardState,
    config: RewardConfig,
    samples: Samples,
    start_log_probs: Tensor,
    rewards: Tensor,
) -> float:
    """Make the updates of one round and return the last gradient's length."""
    mask, n_answer = samples.mask, samples.mask.shape[1]
    if config.method == "grpo":
        advantages = grpo_advantages(rewards).flatten()  # (B,)
    else:
        advantages = (rewards - rewards.mean()).flatten()  # (B,)
    for group in state.optimizer.param_groups:
        group["lr"] = config.learning_rate * (1 - state.step / config.steps)
    state.model.eval()  # with dropout it would not be the policy that drew the answers
    norm = torch.zeros(())
    for _ in range(config.updates_per_step):
        log_probs = answer_log_probs(state.model, samples.ids, n_answer)  # (B, A)
        if config.method == "grpo":
            loss = grpo_loss(log_probs, samples.log_probs, mask, advantages, config.clip)
        else:
            loss = reinforce_loss(log_probs, mask, advantages)
        if config.kl_weight:
            loss = loss + config.kl_weight * kl_to_start(log_probs, start_log_probs, mask).mean()
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.max_grad_norm)
        if not norm.isfinite():
            state.optimizer.zero_grad(set_to_none=True)
            raise NonFinite(
                f"Round {state.step + 1} stopped: the gradient's length is {norm.item()}. Lower "
                f"the learning rate (it is {config.learning_rate:.2g}) and begin again.",
                state.step,
            )
        state.optimizer.step()
    return norm.item()
