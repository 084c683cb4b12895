"""The same numbers in less time and memory.

Opened by notebook 10. To be read in this order: small_weights, static_generation; with notebook 15
cpu_layers, large_vocabulary, peak_bytes, precision, views, acceleration, distributed.
"""

from bhushgpt.speed.acceleration import (
    AcceleratedLoss,
    Acceleration,
    Compiling,
    accelerate,
    compile_trouble,
    pick_acceleration,
)
from bhushgpt.speed.cpu_layers import QUICK, CheapDropout, SigmoidGELU, kept_share, random_mask
from bhushgpt.speed.distributed import (
    Strategy,
    World,
    agreed_path,
    is_sharded,
    join_world,
    one_voice,
    shard,
    sharing_notices,
    wrap,
)
from bhushgpt.speed.large_vocabulary import chunked_loss
from bhushgpt.speed.peak_bytes import PeakBytes
from bhushgpt.speed.precision import (
    GradientScaler,
    Precision,
    autocast,
    bfloat16_speedup,
    pick_precision,
    train_scaled,
)
from bhushgpt.speed.small_weights import weight_bytes, with_int8_weights, with_packed_weights
from bhushgpt.speed.static_generation import FastCached, generate_together
from bhushgpt.speed.views import view
