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


# The third set.


def lion__right__torch_sign(weight, gradient, mean, lr, b1, b2, decay):
    sign = torch.sign(torch.as_tensor(b1 * mean + (1 - b1) * gradient))
    new_weight = weight - lr * (sign + decay * weight)
    return new_weight, b2 * mean + (1 - b2) * gradient


@torch.no_grad()
def lion__right__in_place(weight, gradient, mean, lr, b1, b2, decay):
    mix = b1 * mean + (1 - b1) * gradient
    direction = (mix > 0) * 1.0 - (mix < 0) * 1.0
    weight -= lr * (direction + decay * weight)
    mean = b2 * mean + (1 - b2) * gradient
    return weight, mean


# b1 != b2: the kept mean is mixed with b1; right is with b2.
def lion__wrong__keeps_the_mix(weight, gradient, mean, lr, b1, b2, decay):
    mean = b1 * mean + (1 - b1) * gradient
    sign = torch.sign(torch.as_tensor(mean))
    return weight - lr * (sign + decay * weight), mean


def lion__wrong__third_mean_first(weight, gradient, mean, lr, b1, b2, decay):
    mean = b2 * mean + (1 - b2) * gradient
    sign = torch.sign(torch.as_tensor(b1 * mean + (1 - b1) * gradient))
    return weight - lr * (sign + decay * weight), mean


# gradient 0 and mean 0: the sign is taken as 1; right is 0, only the decay moves the weight.
def lion__wrong__third_zero_counts_as_plus(weight, gradient, mean, lr, b1, b2, decay):
    mix = torch.as_tensor(b1 * mean + (1 - b1) * gradient)
    sign = torch.where(mix >= 0, 1.0, -1.0)
    return weight - lr * (sign + decay * weight), b2 * mean + (1 - b2) * gradient


def lion__wrong__decays_the_moved_weight(weight, gradient, mean, lr, b1, b2, decay):
    sign = torch.sign(torch.as_tensor(b1 * mean + (1 - b1) * gradient))
    weight = weight - lr * sign
    weight = weight - lr * decay * weight
    return weight, b2 * mean + (1 - b2) * gradient


def clip__right__one_long_vector(gradients, longest):
    if not gradients:
        return []
    length = torch.cat([g.flatten() for g in gradients]).norm()
    if length <= longest:
        return list(gradients)
    return [g * (longest / length) for g in gradients]


@torch.no_grad()
def clip__right__in_place_like_the_library(gradients, longest):
    length = math.sqrt(sum(g.double().square().sum().item() for g in gradients))
    if length > longest:
        for g in gradients:
            g.mul_(longest / length)
    return list(gradients)


# [3.], [4.] with longest 3.5: each alone, [3.], [3.5]; right is [2.1], [2.8].
def clip__wrong__each_by_itself(gradients, longest):
    return [g * (longest / g.norm()).clamp(max=1) for g in gradients]


# [0.3], [0.4] with longest 1: lengthened to 1; right is unchanged.
def clip__wrong__lengthens_short_ones(gradients, longest):
    length = sum(g.pow(2).sum() for g in gradients) ** 0.5
    return [g * longest / length for g in gradients]


# [3.], [4.] with longest 1: lengths added, 7; right is the root of the squares, 5: [0.6], [0.8].
def clip__wrong__third_lengths_added(gradients, longest):
    length = sum(g.norm() for g in gradients)
    return [g * min(1.0, float(longest / length)) for g in gradients]


# All gradients 0: 0 / 0 makes nan; right is zeros.
def clip__wrong__nan_for_zeros(gradients, longest):
    length = torch.stack([g.norm() for g in gradients]).norm()
    return [g / length * length.clamp(max=longest) for g in gradients]


def text_loss__right__first_row_and_new_columns(losses, stride):
    T = losses.shape[1]
    new = losses[1:, max(T - stride, 0) :]
    return torch.cat([losses[0], new.flatten()]).mean()


def text_loss__right__by_place_in_the_text(losses, stride):
    places = {}
    for row, window in enumerate(losses.tolist()):
        for column, loss in enumerate(window):
            places.setdefault(row * stride + column, loss)  # the first has most past
    return sum(places.values()) / len(places)


# Any overlap: the latest window wins, with the least past; right is the earliest.
def text_loss__wrong__latest_window(losses, stride):
    counted = torch.cat([losses[:-1, :stride].flatten(), losses[-1]])
    return counted.mean()


# T = 3, stride 1: columns from 1 on, two for each window; right is the last column only.
def text_loss__wrong__columns_from_stride(losses, stride):
    T = losses.shape[1]
    new = losses[1:, stride:] if stride < T else losses[1:]
    return torch.cat([losses[0], new.flatten()]).mean()


# T = 2, stride 1, [[1, 1], [9, 4]]: mean of the windows' means, 2.5; right is (1 + 1 + 4) / 3 = 2.
def text_loss__wrong__third_mean_of_means(losses, stride):
    T = losses.shape[1]
    means = [losses[0].mean()]
    means += [window[max(T - stride, 0) :].mean() for window in losses[1:]]
    return torch.stack(means).mean()
