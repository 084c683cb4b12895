import dataclasses
import math

import pytest
import torch
from torch import nn

from bhushgpt.attention import CausalSelfAttention
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.language_model import next_token_loss
from bhushgpt.positions import sinusoidal_table

POSITIONS = ("learned", "sinusoidal", "rotary")
FORMS = ("explicit", "fused")
SMALL = GPTConfig(vocab_size=11, context_length=8, n_layer=2, n_head=2, n_embd=16)


def small_gpt(seed: int = 0, **changes) -> GPT:
    torch.manual_seed(seed)
    return GPT(dataclasses.replace(SMALL, **changes)).eval()


def spread_out(model: GPT) -> GPT:
    """Give a fresh model weights of a trained size, so that a mistake shows in the logits."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


# The first loss


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(
    ("vocab_size", "context_length", "n_layer", "n_head", "n_embd"),
    [(7, 5, 2, 3, 12), (79, 64, 4, 4, 128), (79, 128, 8, 8, 256), (1000, 32, 2, 4, 64)],
)
def test_the_first_loss_is_near_ln_v(
    vocab_size, context_length, n_layer, n_head, n_embd, position
) -> None:
    torch.manual_seed(1)
    config = GPTConfig(
        vocab_size=vocab_size,
        context_length=context_length,
        n_layer=n_layer,
        n_head=n_head,
        n_embd=n_embd,
        position=position,
    )
    ids = torch.randint(vocab_size, (1000 // context_length, context_length + 1))
    with torch.no_grad():
        loss = next_token_loss(GPT(config)(ids[:, :-1]), ids[:, 1:]).item()
    assert abs(loss - math.log(vocab_size)) < 0.1


# Causality and the forms


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("form", FORMS)
def test_a_future_token_never_changes_a_past_logit(position, form) -> None:
    model = spread_out(small_gpt(position=position, attention_form=form))
    ids = torch.randint(11, (3, 8))
    with torch.no_grad():
        before = model(ids)
        for t in range(8):
            changed = ids.clone()
            changed[:, t] = (ids[:, t] + 1) % 11
            after = model(changed)
            assert torch.equal(after[:, :t], before[:, :t])
            # The other direction: everything from t on does hear of it.
            assert ((after - before)[:, t:].abs().amax(dim=-1) > 1e-4).all()


@pytest.mark.parametrize("position", POSITIONS)
def test_a_shorter_text_gets_the_same_logits(position) -> None:
    model = spread_out(small_gpt(position=position))
    ids = torch.randint(11, (2, 8))
    with torch.no_grad():
        torch.testing.assert_close(model(ids[:, :5]), model(ids)[:, :5], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("position", POSITIONS)
def test_explicit_fused_and_auto_attention_give_the_same_logits(position) -> None:
    models = [
        spread_out(small_gpt(position=position, attention_form=form)) for form in (*FORMS, "auto")
    ]
    ids = torch.randint(11, (2, 8))
    with torch.no_grad():
        explicit, fused, auto = (model(ids) for model in models)
    torch.testing.assert_close(fused, explicit, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(auto, explicit, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("position", POSITIONS)
def test_the_order_of_the_past_matters(position) -> None:
    model = spread_out(small_gpt(position=position))
    ids = torch.tensor([[1, 2, 3, 4], [2, 1, 3, 4]])
    with torch.no_grad():
        first, second = model(ids)[:, -1]
    assert (first - second).abs().max() > 1e-3


def test_dropout_is_off_in_evaluation_and_on_in_training() -> None:
    model = small_gpt(dropout=0.5)
    ids = torch.randint(11, (1, 8))
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


def test_the_settings_reach_every_part() -> None:
    model = small_gpt(dropout=0.25, attention_form="fused")
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    # after the positions; in each block on the weights, behind attention and behind the MLP
    assert rates == [0.25] * (1 + 2 * 3)
    attentions = [m for m in model.modules() if isinstance(m, CausalSelfAttention)]
    assert [attention.form for attention in attentions] == ["fused"] * 2


def test_dropout_zeroes_its_share_of_the_first_stream() -> None:
    model = small_gpt(dropout=0.25, n_embd=64, n_head=2).train()
    seen: list[torch.Tensor] = []
    model.blocks[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(torch.randint(11, (50, 8)))
    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


# The weights


@pytest.mark.parametrize(("L", "H", "C", "V", "P"), [(4, 4, 128, 79, 64), (2, 3, 12, 7, 5)])
def test_parameter_count_equals_the_formula(L, H, C, V, P) -> None:
    model = GPT(GPTConfig(vocab_size=V, context_length=P, n_layer=L, n_head=H, n_embd=C))
    attention = C * 3 * C + 3 * C + C * C + C  # queries, keys, values and the way back
    mlp = C * 4 * C + 4 * C + 4 * C * C + C
    norms = 2 * 2 * C
    assert model.parameter_count() == V * C + P * C + L * (attention + mlp + norms) + 2 * C


@pytest.mark.parametrize("position", ["sinusoidal", "rotary"])
def test_only_learned_positions_have_parameters(position) -> None:
    learned, other = small_gpt(), small_gpt(position=position)
    assert learned.parameter_count() - other.parameter_count() == 8 * 16


def test_the_head_is_the_token_table() -> None:
    model = small_gpt()
    assert model.head.weight is model.tokens.weight
    names = [name for name, _ in model.named_parameters()]
    assert "head.weight" not in names and "tokens.weight" in names


def test_a_head_stays_tied_through_a_step_and_a_load() -> None:
    model = small_gpt()
    model(torch.tensor([[1, 2]])).logsumexp(dim=-1).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    model.load_state_dict(small_gpt(seed=5).state_dict())
    assert model.head.weight.data_ptr() == model.tokens.weight.data_ptr()


@pytest.mark.parametrize("n_layer", [2, 8])
def test_fresh_weights_are_normal_002_and_smaller_into_the_stream(n_layer) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=500, context_length=256, n_layer=n_layer, n_embd=64))
    for name, weight in model.named_parameters():
        if weight.dim() == 1:
            expected = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            assert (weight == expected).all(), name
            continue
        goes_into_stream = ".attention.projection." in name or ".mlp.projection." in name
        std = 0.02 / math.sqrt(2 * n_layer) if goes_into_stream else 0.02
        assert weight.std().item() == pytest.approx(std, rel=0.05), name
        assert abs(weight.mean().item()) < 0.05 * std, name


def test_the_same_seed_gives_the_same_parameters_and_another_gives_others() -> None:
    one, two, other = small_gpt(seed=3), small_gpt(seed=3), small_gpt(seed=4)
    pairs = list(zip(one.parameters(), two.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(one.tokens.weight, other.tokens.weight)


def test_the_model_of_a_config_remembers_it() -> None:
    model = small_gpt()
    assert model.config == SMALL and model.context_length == 8
    assert isinstance(model, nn.Module) and len(model.blocks) == 2


# The oracle


@pytest.mark.filterwarnings("ignore")  # what transformers warns of is not ours to mend
@pytest.mark.parametrize("form", FORMS)
def test_gpt_equals_the_gpt2_of_transformers(form) -> None:
    transformers = pytest.importorskip("transformers")
    ours = spread_out(small_gpt(attention_form=form))
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=11, n_positions=8, n_embd=16, n_layer=2, n_head=2)
    ).eval()
    new = {
        "wte.weight": ours.tokens.weight,
        "wpe.weight": ours.positions.weight,  # type: ignore[union-attr]
        "ln_f.weight": ours.norm.weight,
        "ln_f.bias": ours.norm.bias,
    }
    parts = {
        "ln_1": "norm_1",
        "ln_2": "norm_2",
        "attn.c_attn": "attention.qkv",
        "attn.c_proj": "attention.projection",
        "mlp.c_fc": "mlp.widen",
        "mlp.c_proj": "mlp.projection",
    }
    for number, block in enumerate(ours.blocks):
        for name, part in parts.items():
            module = block.get_submodule(part)
            # transformers keeps GPT-2's old layout: its matrices lie the other way round.
            weight = module.weight if name.startswith("ln") else module.weight.T
            new[f"h.{number}.{name}.weight"] = weight
            new[f"h.{number}.{name}.bias"] = module.bias
    assert set(dict(theirs.transformer.named_parameters())) == set(new)
    theirs.transformer.load_state_dict({k: v.detach() for k, v in new.items()}, strict=True)
    ids = torch.randint(11, (3, 8))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-5, rtol=1e-5)


# What cannot be built or used


def test_all_problems_of_a_config_come_at_once() -> None:
    with pytest.raises(UserError) as caught:
        GPTConfig(
            vocab_size=0,
            n_layer=2.5,  # type: ignore[arg-type]
            dropout=1.0,
            position="nowhere",  # type: ignore[arg-type]
            attention_form="flash",  # type: ignore[arg-type]
        )
    message = str(caught.value)
    for part in (
        "vocab_size is 0",
        "n_layer is 2.5",
        "dropout is 1.0, it must be at least 0 and below 1",
        "position is 'nowhere', there are learned, sinusoidal, rotary",
        "attention_form is 'flash', there are auto, explicit, fused",
    ):
        assert part in message
    assert "n_embd" not in message  # what is right is not mentioned


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"n_embd": 10, "n_head": 4}, "n_embd 10 is not a multiple of n_head 4"),
        ({"n_embd": 12, "n_head": 4, "position": "rotary"}, "n_embd / n_head is 3, not even"),
        ({"n_embd": 5, "n_head": 5, "position": "sinusoidal"}, "n_embd is 5, not even"),
        ({"n_head": 0}, "n_head is 0, it must be a whole number of at least 1"),
        ({"dropout": -0.1}, "dropout is -0.1"),
    ],
)
def test_sizes_that_do_not_fit_are_named(changes, part) -> None:
    with pytest.raises(UserError) as caught:
        dataclasses.replace(SMALL, **changes)
    assert part in str(caught.value)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMALL.n_layer = 3  # type: ignore[misc]


@pytest.mark.parametrize("position", POSITIONS)
def test_a_text_longer_than_the_context_is_refused_with_both_lengths(position) -> None:
    model = small_gpt(position=position)
    assert model(torch.zeros(1, 8, dtype=torch.long)).shape == (1, 8, 11)
    with pytest.raises(UserError, match=r"^9 tokens were given, but .*\b8\b"):
        model(torch.zeros(1, 9, dtype=torch.long))


def test_sinusoidal_positions_are_as_small_as_the_token_vectors() -> None:
    model = small_gpt(position="sinusoidal")
    assert model.positions is not None
    C, P = model.config.n_embd, model.config.context_length
    assert torch.equal(model.positions.weight, 0.02 * sinusoidal_table(P, C))
    # Waves have a mean square of a half: of the size of the vectors they are added to.
    assert model.positions.weight.square().mean().sqrt().item() == pytest.approx(0.02 * 0.5**0.5)
