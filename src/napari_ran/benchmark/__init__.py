"""Systems and other tools side by side: the same pairs, the same training, one table."""

from napari_ran.benchmark.pair import Candidate, Compared, PairStep, candidates_for, compare_pair, disagreement
from napari_ran.benchmark.rows import Row, RowResult
from napari_ran.benchmark.run import BenchmarkStep, run_benchmark
from napari_ran.benchmark.tables import write_benchmark

__all__ = [
    "BenchmarkStep",
    "Candidate",
    "Compared",
    "PairStep",
    "Row",
    "RowResult",
    "candidates_for",
    "compare_pair",
    "disagreement",
    "run_benchmark",
    "write_benchmark",
]
