"""The package that the BhushGPT notebooks build: a core, and eleven rooms with a door each.

The core, to be read in the order in which the notebooks finish it (`curriculum.toml`):

    00-03  errors, versions, environment, files, devices, figures | timing, roofline,
           cpu_settings | kinds, corpus, tokenizers
    04-06  language_model, ngrams, bigram, batches | optimizers, training_config, training,
           evaluation | mlp_model
    07-10  positions, attention | transformer, diagrams | gpt, presets, forecast | kv_cache,
           generation
    13-18  bpe_by_hand, bpe_training, bpe | conversation | lora, replay, instructions
    19     text_scores, arithmetic_coding, online_counters, mixing, symbol_coding, compression
    20-22  averages, scaling | taps, probing | modern_layers, experts, muon, modern_gpt,
           significance
    23-24  checked_tasks, rewards | without_torch

The rooms, each imported by its name alone (`from bhushgpt.storage import save_checkpoint`):

    shapes, sources     comments that are checks; texts by name
    speed, storage      the same numbers in less time; a run on disk
    diagnosis, interop  what went wrong; models that come and go, or become a web page
    clinic              what it looks like when it does
    data, runs          corpora of any size; a run from first step to report
    commands, bench     the command line; how fast it all is
    exercises           what the notebooks ask, and the checks that answer
"""

import os

# Read by GNU OpenMP when torch is loaded, so it helps whoever imports this before torch. Its
# threads wait by spinning: beside another program that keeps a core busy, the default makes a step
# of a small model tens to hundreds of times slower. So many rounds are a tenth of a millisecond:
# fewer cost an idle machine more than 5 %, and 20,000 made a busy one twice as slow again.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
