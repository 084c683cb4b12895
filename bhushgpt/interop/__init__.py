"""Models leave the course and come in: GPT-2's files, tokenizer.json, a web page.

Opened by notebook 16. To be read in this order: tokenizer_json, gpt2; with notebook 17 page,
server.
"""

from bhushgpt.interop.gpt2 import (
    BLOCK_PARTS,
    check_empty,
    from_hf,
    tensors_to_hf,
    to_hf,
    tokenizer_from_hf,
)
from bhushgpt.interop.page import page_weights, write_page
from bhushgpt.interop.server import Server
from bhushgpt.interop.tokenizer_json import fast_tokenizer, write_tokenizer
