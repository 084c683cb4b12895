"""Each wrong answer of notebook 09's exercises meets its own sentence; the counts are true."""

import torch
from kill_table import assert_exercise

from bhushgpt.exercises.nb09_gpt_v1 import early_stop, text_vectors, untied_count
from bhushgpt.gpt import GPT, GPTConfig


def block(C):
    return 12 * C * C + 13 * C


def test_the_kill_table_of_untied_count():
    def stub(V, L, C): ...

    assert_exercise(
        untied_count,
        stub,
        {
            (lambda V, L, C: L * block(C) + V * C + 2 * C): "a table of its own",
            (lambda V, L, C: L * block(C) + 2 * V * C): "after the last block is missing",
            (lambda V, L, C: L * block(C) + 2 * V * C + C): "not C",
            (lambda V, L, C: L * 12 * C * C + 2 * V * C + 2 * C): "biases and norms of the blocks",
            (lambda V, L, C: L * block(C) + 2 * V * C + V + 2 * C): "the head has no bias",
            (lambda V, L, C: block(C) + 2 * V * C + 2 * C): "there are L blocks",
            (lambda V, L, C: L * block(C) + 2 * V * C + 2 * C + 64 * C): "have no table",
            (lambda V, L, C: 12 * C): "gives 4,",
        },
    )


def test_the_reference_count_is_that_of_a_real_model():
    model = GPT(
        GPTConfig(
            vocab_size=11, context_length=8, n_layer=3, n_head=1, n_embd=10, position="rotary"
        )
    )
    assert untied_count.reference(11, 3, 10) == model.parameter_count() + 11 * 10


def nought_is_nothing(losses, patience):
    return early_stop.reference([loss or 9.0 for loss in losses], patience)


def test_the_kill_table_of_early_stop():
    def stub(losses, patience): ...

    def best_of_all(losses, patience):
        return losses.index(min(losses))

    def where_it_stopped(losses, patience):
        best = 0
        for index, loss in enumerate(losses):
            if loss < losses[best]:
                best = index
            elif index - best >= patience:
                return index
        return len(losses) - 1

    def never_reset(losses, patience):
        best, worse = 0, 0
        for index, loss in enumerate(losses):
            if loss < losses[best]:
                best = index
            elif index:
                worse += 1
                if worse >= patience:
                    break
        return best

    def equal_counts(losses, patience):
        best = 0
        for index, loss in enumerate(losses):
            if loss <= losses[best]:
                best = index
            elif index - best >= patience:
                break
        return best

    def gives_up_at_the_end(losses, patience):
        best = 0
        for index, loss in enumerate(losses):
            if loss < losses[best]:
                best = index
            elif index - best >= patience:
                return best
        return 0

    def the_loss(losses, patience):
        return losses[early_stop.reference(losses, patience)]

    assert_exercise(
        early_stop,
        stub,
        {
            nought_is_nothing: "a loss of 0 is the lowest",
            best_of_all: "beyond the stop",
            where_it_stopped: "from earlier",
            never_reset: "start counting anew",
            equal_counts: "only equals the lowest",
            gives_up_at_the_end: "before patience does",
            the_loss: "the loss itself",
        },
    )


def test_the_kill_table_of_text_vectors():
    def stub(stream, lengths): ...

    assert_exercise(
        text_vectors,
        stub,
        {
            (lambda x, n: x[:, -1]): "which is filling",
            (lambda x, n: x[torch.arange(len(x)), n]): "one too far",
            (lambda x, n: x[:, n - 1]): "Pair them",
            (lambda x, n: x.mean(1)): "filling included",
            (lambda x, n: x[:, 0]): "nothing but itself",
            (lambda x, n: x[0, n - 1].repeat(1, 1)): "not those of the formula",
        },
    )
