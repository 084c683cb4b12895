"""Answers to the exercises of notebook 05, written from its cards alone."""

import math

import torch


def lion__right__lerp(weight, gradient, mean, lr, b1, b2, decay):
    direction = torch.lerp(gradient, mean, b1).sign()
    return weight * (1 - lr * decay) - lr * direction, torch.lerp(gradient, mean, b2)


def lion__right__in_place_on_copies(weight, gradient, mean, lr, b1, b2, decay):
    w, m = weight.clone(), mean.clone()
    w.sub_(lr * (torch.sign(b1 * m + (1 - b1) * gradient) + decay * w))
    return w, m.mul_(b2).add_(gradient * (1 - b2))


def lion__wrong__mean_first(weight, gradient, mean, lr, b1, b2, decay):
    mean = b2 * mean + (1 - b2) * gradient
    return weight - lr * (torch.sign(b1 * mean + (1 - b1) * gradient) + decay * weight), mean


def lion__wrong__b1_for_the_mean(weight, gradient, mean, lr, b1, b2, decay):
    mix = b1 * mean + (1 - b1) * gradient
    return weight - lr * (mix.sign() + decay * weight), mix


def lion__wrong__betas_exchanged(weight, gradient, mean, lr, b1, b2, decay):
    mix = b2 * mean + (1 - b2) * gradient
    return weight - lr * (mix.sign() + decay * weight), b1 * mean + (1 - b1) * gradient


def lion__wrong__no_sign(weight, gradient, mean, lr, b1, b2, decay):
    mix = b1 * mean + (1 - b1) * gradient
    return weight - lr * (mix + decay * weight), b2 * mean + (1 - b2) * gradient


def lion__wrong__decay_without_rate(weight, gradient, mean, lr, b1, b2, decay):
    mix = b1 * mean + (1 - b1) * gradient
    return weight - lr * mix.sign() - decay * weight, b2 * mean + (1 - b2) * gradient


def lion__wrong__sign_of_the_gradient(weight, gradient, mean, lr, b1, b2, decay):
    return weight - lr * (gradient.sign() + decay * weight), b2 * mean + (1 - b2) * gradient


def lion__wrong__no_decay(weight, gradient, mean, lr, b1, b2, decay):
    mix = b1 * mean + (1 - b1) * gradient
    return weight - lr * mix.sign(), b2 * mean + (1 - b2) * gradient


def lion__wrong__zero_counts_as_plus(weight, gradient, mean, lr, b1, b2, decay):
    mix = b1 * mean + (1 - b1) * gradient
    sign = torch.where(mix >= 0, 1.0, -1.0)
    return weight - lr * (sign + decay * weight), b2 * mean + (1 - b2) * gradient


def lion__wrong__uphill(weight, gradient, mean, lr, b1, b2, decay):
    mix = b1 * mean + (1 - b1) * gradient
    return weight + lr * (mix.sign() + decay * weight), b2 * mean + (1 - b2) * gradient


def lion__wrong__only_the_weight(weight, gradient, mean, lr, b1, b2, decay):
    mix = b1 * mean + (1 - b1) * gradient
    return weight - lr * (mix.sign() + decay * weight)


def clip__right__joined(gradients, longest):
    length = torch.cat([g.flatten() for g in gradients]).norm().item()
    return [g * min(1.0, longest / length) if length else g.clone() for g in gradients]


def clip__right__sum_of_squares(gradients, longest):
    length = math.sqrt(sum(float(x) ** 2 for g in gradients for x in g.flatten()))
    if length <= longest:
        return list(gradients)
    return [g / length * longest for g in gradients]


def clip__wrong__each_alone(gradients, longest):
    return [g * min(1.0, longest / g.norm().item()) for g in gradients]


def clip__wrong__numbers_clamped(gradients, longest):
    return [g.clamp(-longest, longest) for g in gradients]


def clip__wrong__short_ones_lengthened(gradients, longest):
    length = torch.cat([g.flatten() for g in gradients]).norm()
    return [g * longest / length for g in gradients]


def clip__wrong__no_root(gradients, longest):
    length = sum((g**2).sum() for g in gradients).item()
    return [g * min(1.0, longest / length) for g in gradients]


def clip__wrong__lengths_added(gradients, longest):
    length = sum(g.norm() for g in gradients).item()
    return [g * min(1.0, longest / length) for g in gradients]


def clip__wrong__largest_number(gradients, longest):
    length = max(g.abs().max() for g in gradients).item()
    return [g * min(1.0, longest / length) for g in gradients]


def clip__wrong__divided_only(gradients, longest):
    length = torch.cat([g.flatten() for g in gradients]).norm().item()
    return [g / length if length > longest else g for g in gradients]


def clip__wrong__mean_square(gradients, longest):
    length = torch.cat([g.flatten() for g in gradients]).square().mean().sqrt().item()
    return [g * min(1.0, longest / length) for g in gradients]


def text_loss__right__loop(losses, stride):
    kept = [x for x in losses[0].tolist()]
    for row in losses[1:].tolist():
        kept += row[len(row) - stride :]
    return sum(kept) / len(kept)


def text_loss__right__by_token(losses, stride):
    latest = {}
    for n, row in enumerate(losses):
        for t, loss in enumerate(row):
            place = n * stride + t
            if place not in latest:
                latest[place] = loss.item()
    return torch.tensor(list(latest.values()), dtype=torch.float64).mean()


def text_loss__wrong__all(losses, stride):
    return losses.mean()


def text_loss__wrong__first_window_cut_too(losses, stride):
    return losses[:, -stride:].mean()


def text_loss__wrong__little_past(losses, stride):
    return torch.cat([losses[:-1, :stride].flatten(), losses[-1]]).mean()


def text_loss__wrong__mean_of_means(losses, stride):
    return torch.stack([losses[0].mean(), *losses[1:, -stride:].mean(1)]).mean()


def text_loss__wrong__sum(losses, stride):
    return losses[0].sum() + losses[1:, -stride:].sum()


def text_loss__wrong__from_the_stride_on(losses, stride):
    return torch.cat([losses[0], losses[1:, stride:].flatten()]).mean()


def text_loss__wrong__divided_by_all(losses, stride):
    return (losses[0].sum() + losses[1:, -stride:].sum()) / losses.numel()
