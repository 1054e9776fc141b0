"""Many pairs scored alike: a list of cases in, one table out."""

from napari_ran.cases.listing import Case, read_cases
from napari_ran.cases.run import CaseStep, score_cases
from napari_ran.cases.scores import CaseScore, LabelScore, score_case
from napari_ran.cases.tables import Summary, summarise, write_tables

__all__ = [
    "Case",
    "CaseScore",
    "CaseStep",
    "LabelScore",
    "Summary",
    "read_cases",
    "score_case",
    "score_cases",
    "summarise",
    "write_tables",
]
