"""How fast the course is on this machine, beside the machine's limits and other libraries.

Opened by notebook 13. To be read in this order: jobs, work; with notebook 17, when interop is
known, tokenizers, peers, plan, workers, record.
"""

from bhushgpt.bench.plan import half_type, plan_bench
from bhushgpt.bench.record import BenchRecord, bench_figure, best_of, measure_limits, report
from bhushgpt.bench.tokenizers import BPEMeasured, measure_bpe, time_training, train_with_tokenizers
from bhushgpt.bench.workers import Measured, measure_together
