"""Many pairs scored alike: a list of cases in, one table out."""

from napari_ran.cases.listing import Case, read_cases, with_fields
from napari_ran.cases.run import CaseStep, case_key, file_name, finished_cases, load_case, measure_case, score_cases
from napari_ran.cases.scores import CaseScore, LabelScore, score_case
from napari_ran.cases.solving import Registering, Solved, Solver, solved_by
from napari_ran.cases.tables import MEASURES, Summary, summarise, write_rows, write_tables

__all__ = [
    "MEASURES",
    "Case",
    "CaseScore",
    "CaseStep",
    "LabelScore",
    "Registering",
    "Solved",
    "Solver",
    "Summary",
    "case_key",
    "file_name",
    "finished_cases",
    "load_case",
    "measure_case",
    "read_cases",
    "score_case",
    "score_cases",
    "solved_by",
    "summarise",
    "with_fields",
    "write_rows",
    "write_tables",
]
