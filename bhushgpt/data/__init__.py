"""A corpus of any size becomes one memory-mapped row of token ids.

Opened by notebook 14. To be read in this order: archives, shards, documents, openwebtext,
token_files, prepared, preparation.
"""

from bhushgpt.data.archives import Damaged, TarReader, UnpackingLimits, plain_files, unpacked, zstd
from bhushgpt.data.documents import Document, read_shard
from bhushgpt.data.openwebtext import (
    OPENWEBTEXT,
    FoundCorpus,
    find_openwebtext,
    named_text,
    stand_in,
)
from bhushgpt.data.preparation import (
    Plan,
    ShardDone,
    clean_preparation,
    finish_preparation,
    is_done,
    make_plan,
    prepare,
    read_record,
    start_preparation,
    store_pages,
    tokenize_shard,
)
from bhushgpt.data.prepared import TOKENIZER, PreparedTokens, is_tokens_folder
from bhushgpt.data.shards import find_shards, printable
from bhushgpt.data.token_files import HEADER, DocumentEncoder, TokenFile, TokenWriter, is_held_out
