"""The notebook's own GPT, with weights of the package's names."""

from bhushgpt import without_torch as plain


def drive(nb, s):
    nb.layer_norm = plain.Node.layer_norm  # an exercise: the notebook takes the package's
    sizes = {"vocab_size": s.V, "context_length": s.T, "n_layer": 1, "n_head": s.H, "n_embd": s.C}
    weights = plain.GPT(**sizes).weights
    mine = {name: nb.Table(node.rows) for name, node in weights.items()}
    nb.hand_made_gpt(mine, list(range(s.T)), 1, s.H)
