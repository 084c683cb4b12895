"""Learning from rewards: every loss against an exact sum over all answers, and whole small runs."""

import copy
import itertools
import math

import pytest
import torch
from torch import Tensor

from bhushgpt.checked_tasks import Task, additions, checked_rewards, exact
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.rewards import (
    RewardConfig,
    RewardState,
    answer_log_probs,
    dpo_loss,
    grpo_advantages,
    grpo_loss,
    kl_to_start,
    pass_at_1,
    reinforce_loss,
    sample_answers,
    train_with_rewards,
    write_answers,
)
from bhushgpt.training import NonFinite

END, V, A = 0, 4, 3


def every_answer() -> tuple[Tensor, Tensor]:
    """Return all answers that can be written with V tokens, at most A of them, and their masks."""
    rows, masks = [], []
    for tokens in itertools.product(range(V), repeat=A):
        length = next((i + 1 for i, token in enumerate(tokens) if token == END), A)
        if any(token != END for token in tokens[length:]):
            continue  # behind the end mark there is nothing
        rows.append([1, 2, *tokens])  # the question is 1 2
        masks.append([i < length for i in range(A)])
    return torch.tensor(rows), torch.tensor(masks)


@pytest.fixture
def policies() -> tuple[GPT, GPT, Tensor, Tensor]:
    """A model, its start, all answers and masks; in float64, so that equal means equal."""
    config = GPTConfig(vocab_size=V, context_length=2 + A, n_layer=1, n_head=2, n_embd=6)
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = GPT(config).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.5 * torch.randn_like(parameter))
        models.append(model)
    return models[0], models[1], *every_answer()


def log_probs_of(model: GPT, ids: Tensor) -> Tensor:
    logits = model(ids[:, :-1])[:, -A:]
    return logits.log_softmax(-1).gather(-1, ids[:, -A:, None])[..., 0]


def gradient(value: Tensor, model: GPT) -> Tensor:
    parts = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
    return torch.cat([part.flatten() for part in parts if part is not None])


def test_the_probabilities_of_all_answers_sum_to_one(policies):
    model, _, ids, mask = policies
    whole = (log_probs_of(model, ids) * mask).sum(1).exp()
    assert len(ids) == 1 + 3 + 9 * V  # ended at once, after one token, after two or never
    assert whole.sum().item() == pytest.approx(1, abs=1e-12)


def test_answer_log_probs_are_those_of_the_answers_tokens(policies):
    model, _, ids, _ = policies
    found = answer_log_probs(model, ids, A)  # float32 inside, as every loss of the course
    torch.testing.assert_close(found.double(), log_probs_of(model, ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("baseline", [0.0, 0.7, -3.0])
def test_the_policy_gradient_is_the_gradient_of_the_exact_expected_reward(policies, baseline):
    model, _, ids, mask = policies
    rewards = torch.randn(len(ids), dtype=torch.double)
    log_probs = log_probs_of(model, ids)
    p = (log_probs * mask).sum(1).exp()
    expected = gradient((p * rewards).sum(), model)
    # Every answer once, weighted by its probability: the mean over infinitely many draws.
    weights = p.detach() * len(ids)
    loss = reinforce_loss(log_probs_of(model, ids), mask, weights * (rewards - baseline))
    torch.testing.assert_close(gradient(loss, model), -expected, atol=1e-12, rtol=1e-10)


def test_the_kl_estimate_has_the_exact_kl_as_its_mean_and_is_never_negative(policies):
    model, start, ids, mask = policies
    log_p, log_q = log_probs_of(model, ids), log_probs_of(start, ids)
    p = (log_p * mask).sum(1).exp()
    exact_kl = (p * ((log_p - log_q) * mask).sum(1)).sum()
    estimates = kl_to_start(log_p, log_q, mask)
    assert estimates.shape == (len(ids),) and (estimates >= 0).all()
    torch.testing.assert_close((p * estimates).sum(), exact_kl, atol=1e-12, rtol=1e-10)
    assert exact_kl > 0.1
    assert (kl_to_start(log_q, log_q, mask) == 0).all()


def test_the_gradient_of_the_kl_estimate_is_that_of_the_other_direction(policies):
    model, start, ids, mask = policies
    log_p = log_probs_of(model, ids)
    log_q = log_probs_of(start, ids).detach()
    p = (log_p * mask).sum(1).exp()
    found = gradient((p.detach() * kl_to_start(log_p, log_q, mask)).sum(), model)
    # KL(start || model), token by token along the answers that the model writes.
    logits, start_logits = model(ids[:, :-1])[:, -A:], start(ids[:, :-1])[:, -A:].detach()
    q_all = start_logits.softmax(-1)
    each = (q_all * (q_all.log() - logits.log_softmax(-1))).sum(-1)
    expected = gradient((p.detach() * (each * mask).sum(1)).sum(), model)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-8)


# Losses by hand


def test_grpo_advantages_by_hand():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [3.0, 1.0, 1.0, 1.0]])
    found = grpo_advantages(rewards, eps=0)
    root = math.sqrt(3)  # the second group: mean 1.5, deviation sqrt(0.75)
    expected = torch.tensor([[1.0, -1.0, -1.0, 1.0], [root, -1 / root, -1 / root, -1 / root]])
    torch.testing.assert_close(found, expected)


def test_a_group_that_agrees_teaches_nothing_whatever_its_reward():
    for reward in (0.0, 1.0, 0.1, -7.3):
        assert grpo_advantages(torch.full((3, 7), reward)).abs().max() < 0.01


def test_advantages_change_neither_with_the_scale_nor_with_the_level_of_rewards():
    rewards = torch.randn(5, 6)
    first = grpo_advantages(rewards, eps=0)
    torch.testing.assert_close(grpo_advantages(10 * rewards - 3, eps=0), first)


def test_grpo_loss_equals_a_loop_over_answers_and_tokens():
    B = 5
    log_probs = (torch.randn(B, A) - 1).double()
    old = log_probs + torch.randn(B, A).double() * 0.4
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0]]).bool()
    advantages = torch.tensor([1.5, -0.5, 2.0, -1.0, 0.0]).double()
    total = 0.0
    for b in range(B):
        gains = []
        for t in range(A):
            if mask[b, t]:
                ratio = math.exp(log_probs[b, t] - old[b, t])
                limited = min(max(ratio, 0.7), 1.3)
                a = advantages[b].item()
                gains.append(min(ratio * a, limited * a))
        total += sum(gains) / len(gains)
    loss = grpo_loss(log_probs, old, mask, advantages, clip=0.3)
    assert loss.item() == pytest.approx(-total / B, abs=1e-12)


def test_a_token_that_has_moved_far_enough_has_no_gradient_unless_it_went_the_wrong_way():
    old = torch.zeros(4, 1)
    log_probs = torch.tensor([[0.5], [0.5], [-0.5], [-0.5]], requires_grad=True)
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    mask = torch.ones(4, 1, dtype=torch.bool)
    grpo_loss(log_probs, old, mask, advantages).backward()
    assert log_probs.grad is not None
    assert (log_probs.grad[:, 0] != 0).tolist() == [False, True, True, False]


def test_the_first_grpo_update_is_the_policy_gradient_for_answers_of_one_length():
    log_probs = torch.randn(6, A, requires_grad=True)
    mask, advantages = torch.ones(6, A, dtype=torch.bool), torch.randn(6)
    (first,) = torch.autograd.grad(
        grpo_loss(log_probs, log_probs.detach(), mask, advantages), log_probs
    )
    (plain,) = torch.autograd.grad(reinforce_loss(log_probs, mask, advantages), log_probs)
    torch.testing.assert_close(first * A, plain)


def test_the_dpo_loss_and_its_gradient_are_the_formulas():
    beta, n = 0.3, 5
    chosen, rejected = (torch.randn(n, dtype=torch.double, requires_grad=True) for _ in range(2))
    start_chosen, start_rejected = (torch.randn(n, dtype=torch.double) for _ in range(2))
    loss = dpo_loss(chosen, rejected, start_chosen, start_rejected, beta)
    sigmoids = [
        1 / (1 + math.exp(-beta * ((c - sc) - (r - sr))))
        for c, r, sc, sr in zip(
            *(x.tolist() for x in (chosen, rejected, start_chosen, start_rejected)), strict=True
        )
    ]
    assert loss.item() == pytest.approx(-sum(map(math.log, sigmoids)) / n, abs=1e-12)
    loss.backward()
    # Equation 7 of the paper: beta * (how wrong the pair is) * (up the chosen, down the rejected).
    expected = torch.tensor([-beta * (1 - s) / n for s in sigmoids], dtype=torch.double)
    torch.testing.assert_close(chosen.grad, expected)
    torch.testing.assert_close(rejected.grad, -expected)


def test_dpo_prefers_what_is_chosen(policies):
    model, start, ids, mask = policies
    mask = mask.double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def whole(of: GPT, row: int) -> Tensor:
        return (log_probs_of(of, ids[row : row + 1]) * mask[row]).sum(1)

    before = (whole(model, 3) - whole(model, 9)).item()
    for _ in range(20):
        loss = dpo_loss(
            whole(model, 3), whole(model, 9), whole(start, 3), whole(start, 9).detach(), beta=0.5
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (whole(model, 3) - whole(model, 9)).item() > before + 1


# Drawn answers


@pytest.fixture(scope="module")
def task() -> Task:
    return additions(digits=1)


def small_gpt(task: Task, seed: int = 0, dropout: float = 0.0) -> GPT:
    torch.manual_seed(seed)
    config = GPTConfig(
        vocab_size=task.tokenizer.vocab_size,
        context_length=4 + task.answer_length,
        n_layer=1,
        n_head=2,
        n_embd=16,
        dropout=dropout,
    )
    return GPT(config)


def test_samples_end_once_and_carry_the_log_probs_of_a_plain_forward(task):
    model = small_gpt(task)
    questions = task.questions(task.train[:40])
    samples = sample_answers(model, questions, task, torch.Generator().manual_seed(0))
    assert torch.equal(samples.ids[:, :4], questions)
    plain = answer_log_probs(model, samples.ids, task.answer_length)
    torch.testing.assert_close(samples.log_probs, plain, atol=1e-5, rtol=1e-5)
    for answer, mask in zip(samples.ids[:, 4:].tolist(), samples.mask.tolist(), strict=True):
        end = answer.index(task.end_id) + 1 if task.end_id in answer else task.answer_length
        assert mask == [place < end for place in range(task.answer_length)]
        assert all(token == task.end_id for token in answer[end:])
    assert samples.mask[:, 0].all() and not samples.mask.all()


def test_answers_come_as_often_as_their_probability_says(task):
    model = small_gpt(task)
    with torch.no_grad():
        model.tokens.weight.mul_(8)  # far from even
        n = 20_000
        (texts,) = write_answers(model, task, task.train[:1], n=n, seed=3)
        for text in (".", "1.", texts[0]):
            row = task.rows(task.train[:1], [text.rstrip(".")])
            length = len(text)
            p = answer_log_probs(model, row, task.answer_length)[0, :length].sum().exp().item()
            allowed = 5 * math.sqrt(p * (1 - p) / n) + 1e-9
            assert abs(texts.count(text) / n - p) < allowed


def test_sampling_changes_neither_the_model_nor_torchs_random_numbers(task):
    model = small_gpt(task, dropout=0.5)
    before = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    once = write_answers(model, task, task.train[:9], n=3, seed=1)
    assert model.training and torch.equal(torch.get_rng_state(), random)
    assert once == write_answers(model, task, task.train[:9], n=3, seed=1)
    assert once != write_answers(model, task, task.train[:9], n=3, seed=2)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_pass_at_1_is_the_share_of_right_answers(task):
    model = small_gpt(task)
    written = write_answers(model, task, task.train, n=30, seed=5)
    right = sum(
        text == problem.answer + "."
        for problem, texts in zip(task.train, written, strict=True)
        for text in texts
    )
    assert right > 0
    assert pass_at_1(model, task, task.train, n=30, seed=5) == right / (30 * len(task.train))


# Whole runs


SHORT = {"questions_per_step": 16, "group_size": 4, "learning_rate": 0.01}


def flawed(problem, written):
    """Compare digit by digit; zip stops at the shorter one, and so does the check."""
    return float(all(a == b for a, b in zip(written.rstrip("."), problem.answer, strict=False)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_check_that_stops_too_early_is_exploited_and_the_exact_one_is_not(task, seed):
    config = RewardConfig(steps=25, seed=seed, **SHORT)
    ends = {}
    for name, reward in (("flawed", flawed), ("exact", exact)):
        model = small_gpt(task, seed)
        for report in train_with_rewards(RewardState.fresh(model, config), task, config, reward):
            ends[name] = report.reward
        texts = [text for row in write_answers(model, task, task.held_out, n=8) for text in row]
        ends[name, "empty"] = texts.count(".") / len(texts)
    assert ends["flawed"] > 0.95 and ends["flawed", "empty"] > 0.9
    assert ends["exact", "empty"] < 0.3


@pytest.mark.parametrize("settings", [{}, {"method": "reinforce", "updates_per_step": 1}])
def test_both_methods_find_what_is_rewarded(task, settings):
    model = small_gpt(task)
    config = RewardConfig(steps=30, **SHORT, **settings)
    reports = list(
        train_with_rewards(
            RewardState.fresh(model, config), task, config, lambda _, text: float(text[0] == "7")
        )
    )
    assert reports[0].reward < 0.3 and reports[-1].reward > 0.7
    assert reports[0].kl == pytest.approx(0, abs=1e-6) and reports[-1].kl > 0.5


def test_a_price_on_the_distance_keeps_the_model_nearer_to_its_start(task):
    distances = []
    for weight in (0.0, 1.0):
        model = small_gpt(task)
        config = RewardConfig(steps=20, kl_weight=weight, **SHORT)
        state = RewardState.fresh(model, config)
        reward = lambda _, text: float(text[0] == "7")  # noqa: E731
        distances.append([r.kl for r in train_with_rewards(state, task, config, reward)][-1])
    assert distances[1] < distances[0] / 2


def test_resumed_equals_uninterrupted_to_the_last_bit(task):
    config = RewardConfig(steps=6, **SHORT)
    whole = RewardState.fresh(small_gpt(task), config)
    reports = list(train_with_rewards(whole, task, config))
    broken = RewardState.fresh(small_gpt(task), config)
    for report in train_with_rewards(broken, task, config):
        torch.rand(7)  # what else is drawn makes no difference
        write_answers(broken.model, task, task.held_out)
        if report.step == 3:
            break
    assert broken.step == 3
    rest = list(train_with_rewards(copy.deepcopy(broken), task, config))
    assert rest == reports[3:]
    resumed = RewardState.fresh(small_gpt(task), config)
    resumed.model.load_state_dict(broken.model.state_dict())
    resumed.optimizer.load_state_dict(broken.optimizer.state_dict())
    resumed.step = 3
    list(train_with_rewards(resumed, task, config))
    pairs = zip(resumed.model.parameters(), whole.model.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_every_round_and_every_seed_asks_its_own_questions(task):
    asked = []
    for seed in (0, 1):
        config = RewardConfig(steps=4, seed=seed, **SHORT)
        state = RewardState.fresh(small_gpt(task), config)
        asked += [report.examples[0][0] for report in train_with_rewards(state, task, config)]
    assert len(set(asked)) >= 6  # of 8; two may meet by chance


def test_no_held_out_problem_is_ever_asked_and_a_group_shares_its_question(task):
    asked = []

    def listens(problem, written):
        asked.append(problem)
        return float(len(written))

    config = RewardConfig(steps=5, **SHORT)
    list(train_with_rewards(RewardState.fresh(small_gpt(task), config), task, config, listens))
    assert len(asked) == 5 * 16 * 4
    assert not set(asked) & set(task.held_out)
    assert all(len(set(asked[i : i + 4])) == 1 for i in range(0, len(asked), 4))


def test_the_start_stays_as_it_was(task):
    model = small_gpt(task)
    before = copy.deepcopy(model.state_dict())
    config = RewardConfig(steps=3, **SHORT)
    state = RewardState.fresh(model, config)
    list(train_with_rewards(state, task, config, lambda _, text: float(len(text))))
    assert all(torch.equal(before[name], value) for name, value in state.start.state_dict().items())
    assert any(not torch.equal(before[name], value) for name, value in model.state_dict().items())


# What a person can get wrong


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "1", torch.tensor(1.0)])
def test_a_reward_that_is_no_finite_number_is_refused_with_the_answer_and_nothing_is_learned(
    task, value
):
    model = small_gpt(task)
    before = copy.deepcopy(model.state_dict())
    config = RewardConfig(steps=2, **SHORT)
    with pytest.raises(UserError, match="must be a finite number") as refusal:
        next(train_with_rewards(RewardState.fresh(model, config), task, config, lambda *_: value))
    assert "as an answer to" in str(refusal.value) and "\n" not in str(refusal.value)
    assert all(torch.equal(before[name], found) for name, found in model.state_dict().items())


def test_whole_numbers_and_truth_values_are_rewards(task):
    problems = task.train[:2]
    assert checked_rewards(problems, ["1.", "2."], lambda *_: True).tolist() == [1, 1]
    assert checked_rewards(problems, ["1.", "2."], lambda *_: -3).tolist() == [-3, -3]


def test_a_group_of_one_is_refused():
    with pytest.raises(UserError, match="group of one"):
        grpo_advantages(torch.ones(5, 1))
    with pytest.raises(UserError, match="group_size is 1"):
        RewardConfig(group_size=1)
    assert RewardConfig(method="reinforce", group_size=1, updates_per_step=1).group_size == 1


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(UserError) as refusal:
        RewardConfig(
            steps=0,
            method="ppo",  # type: ignore
            questions_per_step=1.5,  # type: ignore
            learning_rate=math.nan,
            clip=-1,
            kl_weight=math.inf,
            max_grad_norm=0,
        )
    for name in ("steps", "method", "questions_per_step", "learning_rate", "clip", "kl_weight"):
        assert f"{name} is " in str(refusal.value)
    assert "max_grad_norm is 0" in str(refusal.value)
    with pytest.raises(UserError, match="updates_per_step is 2, but reinforce"):
        RewardConfig(method="reinforce")


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_spoils_the_weights(task):
    model = small_gpt(task)
    config = RewardConfig(steps=2, **SHORT)
    state = RewardState.fresh(model, config)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(NonFinite, match="Round 1 stopped"):
        huge = lambda _, text: 1e38 * len(text)  # noqa: E731 its square is no float32
        next(
            train_with_rewards(
                state, task, RewardConfig(steps=2, method="reinforce", updates_per_step=1), huge
            )
        )
    assert all(torch.equal(before[name], found) for name, found in model.state_dict().items())
