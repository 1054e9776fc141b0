"""Cohorts: many pairs registered side by side on Dask workers, each with its own folder of results."""

from napari_ran.cohort.clusters import ClusterConfig, opened
from napari_ran.cohort.pair import Outcome, finished_outcome, original_files, register_case
from napari_ran.cohort.run import CohortStep, register_cohort
from napari_ran.cohort.summary import PAIRS, read_outcomes, write_summary

__all__ = [
    "PAIRS",
    "ClusterConfig",
    "CohortStep",
    "Outcome",
    "finished_outcome",
    "opened",
    "original_files",
    "read_outcomes",
    "register_case",
    "register_cohort",
    "write_summary",
]
