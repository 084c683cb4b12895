"""Healthy runs with a mistake planted in each, so that its curve can be learned.

Opened by notebook 12. To be read in this order: planted_bugs.
"""

from bhushgpt.clinic.planted_bugs import (
    JUDGED,
    TOO_BAD,
    TOO_GOOD,
    OneBuffer,
    Recipe,
    answer_in_prompt,
    batch_is_time,
    dropout_awake,
    huge_rate,
    mask_on_one_path,
    near_duplicates,
    no_mask,
    no_scale,
    no_zero_grad,
    not_shifted,
    one_file,
    other_vocabulary,
    overlapping_windows,
    reused_buffer,
    same_dropout_everywhere,
    short,
    shuffled_targets,
    tar_as_text,
    tied_as_it_comes,
    tiny_rate,
    tokenizer_of_the_exam,
    trained_then_scored,
    with_licence,
    with_phrases,
    written,
)
