"""A corpus of any size becomes one memory-mapped row of token ids.

Opened by notebook 14.
"""

from bhushgpt.data.archives import Damaged, TarReader, UnpackingLimits, plain_files, unpacked, zstd
from bhushgpt.data.documents import read_shard
from bhushgpt.data.openwebtext import (
    OPENWEBTEXT,
    CorpusPart,
    find_openwebtext,
    named_text,
    stand_in,
)
from bhushgpt.data.preparation import (
    Plan,
    ShardDone,
    clean_folder,
    finish_folder,
    is_done,
    make_plan,
    prepare,
    read_record,
    start_folder,
    store_pages,
    tokenize_shard,
)
from bhushgpt.data.prepared import PREPARED_MANIFEST, TOKENIZER, PreparedTokens
from bhushgpt.data.shards import find_shards
from bhushgpt.data.token_files import HEADER, DocumentEncoder, TokenFile, TokenWriter, is_held_out
