"""The package that the BhushGPT notebooks build: a core, and ten rooms with a door each.

The core, to be read in the order in which the notebooks finish it (`curriculum.toml`):

    00-05  environment, devices | timing, roofline | tokenizers | ngrams, bigram, batches | training
    07-10  positions, attention | transformer | gpt, presets, forecast | generation, kv_cache
    13     bpe_by_hand, bpe_training, bpe

The rooms, each imported by its name alone (`from bhushgpt.storage import save_checkpoint`):

    shapes, sources     comments that are checks; texts by name
    speed, storage      the same numbers in less time; a run on disk
    diagnosis, interop  what went wrong; models that come and go
    data, runs          corpora of any size; a run from first step to report
    commands, bench     the command line; how fast it all is
"""
