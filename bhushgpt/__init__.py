"""The package that the BhushGPT notebooks build, one idea a file.

Nothing is re-exported here: import from the module that holds the idea, for example
`from bhushgpt.attention import CausalSelfAttention`. The order in which the course finishes the
modules stands in `curriculum.toml`.
"""
