"""Systems and other tools side by side: the same pairs, the same training, one table."""

from napari_ran.benchmark.rows import Row, RowResult
from napari_ran.benchmark.run import BenchmarkStep, run_benchmark
from napari_ran.benchmark.tables import write_benchmark

__all__ = ["BenchmarkStep", "Row", "RowResult", "run_benchmark", "write_benchmark"]
