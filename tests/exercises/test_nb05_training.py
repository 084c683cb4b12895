"""Each wrong answer of notebook 05's exercises meets its own sentence; the references are true."""

import torch
from kill_table import assert_exercise

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.evaluation import evaluate
from bhushgpt.exercises.nb05_training import clip, lion, text_loss
from bhushgpt.language_model import token_losses


def test_the_kill_table_of_lion():
    def stub(weight, gradient, mean, lr, b1, b2, decay): ...

    def kept(g, m, b2):
        return b2 * m + (1 - b2) * g

    def climbs(w, g, m, lr, b1, b2, decay):
        sign = (b1 * m + (1 - b1) * g).sign()
        return w + lr * sign - lr * decay * w, kept(g, m, b2)

    def no_sign(w, g, m, lr, b1, b2, decay):
        return w - lr * (b1 * m + (1 - b1) * g + decay * w), kept(g, m, b2)

    def no_decay(w, g, m, lr, b1, b2, decay):
        return w - lr * (b1 * m + (1 - b1) * g).sign(), kept(g, m, b2)

    def decay_in_the_gradient(w, g, m, lr, b1, b2, decay):
        g = g + decay * w
        return w - lr * (b1 * m + (1 - b1) * g).sign(), kept(g, m, b2)

    def decay_after_the_move(w, g, m, lr, b1, b2, decay):
        w = w - lr * (b1 * m + (1 - b1) * g).sign()
        return w * (1 - lr * decay), kept(g, m, b2)

    def sign_of_the_gradient(w, g, m, lr, b1, b2, decay):
        return w - lr * (g.sign() + decay * w), kept(g, m, b2)

    def mean_first(w, g, m, lr, b1, b2, decay):
        m = kept(g, m, b2)
        return w - lr * (m.sign() + decay * w), m

    def decay_without_rate(w, g, m, lr, b1, b2, decay):
        sign = (b1 * m + (1 - b1) * g).sign()
        return w - lr * sign - decay * w, kept(g, m, b2)

    def keeps_the_mix(w, g, m, lr, b1, b2, decay):
        mix = b1 * m + (1 - b1) * g
        return w - lr * (mix.sign() + decay * w), mix

    def keeps_the_old_mean(w, g, m, lr, b1, b2, decay):
        return w - lr * ((b1 * m + (1 - b1) * g).sign() + decay * w), m

    def keeps_the_gradient(w, g, m, lr, b1, b2, decay):
        return w - lr * ((b1 * m + (1 - b1) * g).sign() + decay * w), g

    assert_exercise(
        lion,
        stub,
        {
            climbs: "this climbs",
            no_sign: "the sign is missing",
            no_decay: "the weight decay is missing",
            decay_in_the_gradient: "swallows its size",
            decay_after_the_move: "not from the one that has moved",
            sign_of_the_gradient: "the old mean plays no part",
            mean_first: "the step mixes with b1",
            decay_without_rate: "is not weight - lr",
            keeps_the_mix: "it wants b2",
            keeps_the_old_mean: "you gave back the old mean",
            keeps_the_gradient: "the new mean is another one",
        },
    )


def test_the_kill_table_of_clip():
    def stub(gradients, longest): ...

    def length(gradients):
        return sum(float(g.square().sum()) for g in gradients) ** 0.5

    def each_number(gradients, longest):
        return [g.clamp(-longest, longest) for g in gradients]

    def each_tensor(gradients, longest):
        return [g * min(1.0, longest / float(g.norm())) for g in gradients]

    def sum_of_lengths(gradients, longest):
        total = sum(float(g.norm()) for g in gradients)
        return [g * min(1.0, longest / total) for g in gradients]

    def sum_of_sizes(gradients, longest):
        total = sum(float(g.abs().sum()) for g in gradients)
        return [g * min(1.0, longest / total) for g in gradients]

    def no_root(gradients, longest):
        return [g * min(1.0, longest / length(gradients) ** 2) for g in gradients]

    def to_one(gradients, longest):
        factor = 1 / length(gradients) if length(gradients) > longest else 1.0
        return [g * factor for g in gradients]

    def wrong_way_round(gradients, longest):
        factor = longest / length(gradients)
        return [g if factor < 1 else g * factor for g in gradients]

    def longest_tensor_only(gradients, longest):
        norm = max(float(g.norm()) for g in gradients)
        return [g * min(1.0, longest / norm) for g in gradients]

    def always(gradients, longest):
        return [g * longest / length(gradients) for g in gradients]

    def zero_by_zero(gradients, longest):
        norm = torch.tensor(length(gradients))
        return [(g / norm) * norm.clamp(max=longest) for g in gradients]

    assert_exercise(
        clip,
        stub,
        {
            each_number: "changes the direction",
            each_tensor: "by its own length",
            sum_of_lengths: "you added the lengths",
            sum_of_sizes: "you added the numbers' sizes",
            no_root: "the root is missing",
            to_one: "whatever the limit is",
            wrong_way_round: "came back unchanged",
            longest_tensor_only: "the longest tensor became",
            always: "never grow",
            zero_by_zero: "0 / 0",
        },
    )


def test_the_reference_clips_as_torch_does():
    torch.manual_seed(0)
    gradients = [torch.randn(3, 2), torch.randn(4)]
    for longest in (0.5, 100.0):
        weights = [torch.nn.Parameter(torch.zeros_like(g)) for g in gradients]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_(weights, longest)
        for weight, ours in zip(weights, clip.reference(gradients, longest), strict=True):
            torch.testing.assert_close(weight.grad, ours, rtol=1e-5, atol=1e-6)


def all_but_the_overlap(losses, stride):
    overlap = losses.shape[1] - stride
    later = losses[1:, overlap:] if overlap else losses[:0]
    return torch.cat([losses[0], later.flatten()]).mean()


def test_the_kill_table_of_text_loss():
    def stub(losses, stride): ...

    def mean_of_means(losses, stride):
        means = [losses[0].mean(), *losses[1:, -stride:].mean(dim=1)]
        return sum(means) / len(means)

    def the_sum(losses, stride):
        return losses[0].sum() + losses[1:, -stride:].sum()

    assert_exercise(
        text_loss,
        stub,
        {
            all_but_the_overlap: "with a stride of T",
            (lambda losses, stride: losses.mean()): "the overlap counts several times",
            (
                lambda losses, stride: torch.cat([losses[0], losses[1:, :stride].flatten()]).mean()
            ): "the first columns of the later windows",
            (lambda losses, stride: losses[:, -stride:].mean()): "nobody has counted its beginning",
            mean_of_means: "a mean of means",
            the_sum: "that is the sum",
            (lambda losses, stride: the_sum(losses, stride) / losses.numel()): "all predictions",
            (lambda losses, stride: losses[::3].mean()): "this is not the mean over",
            (
                lambda losses, stride: (
                    text_loss.reference(losses, stride) if len(losses) > 1 else losses.sum()
                )
            ): "a single one counts whole",
        },
    )


def test_the_reference_text_loss_is_what_evaluate_measures():
    torch.manual_seed(0)
    model = Bigram(BigramConfig(vocab_size=5, context_length=6))
    torch.nn.init.normal_(model.table.weight)
    ids = torch.randint(5, (13,))
    windows = ids.unfold(0, 7, 2)
    losses = token_losses(model(windows[:, :-1]), windows[:, 1:])
    measured = evaluate(model, ids.numpy(), stride=2).nats_per_token
    torch.testing.assert_close(text_loss.reference(losses, 2).item(), measured)
