"""The report of an inspection: one HTML page that holds everything it shows, and the arrays of every stage as files."""

from napari_ran.webpage.files import FORMATS, Format
from napari_ran.webpage.page import Page
from napari_ran.webpage.report import ReportStep, provenance, report_steps, write_report

__all__ = ["FORMATS", "Format", "Page", "ReportStep", "provenance", "report_steps", "write_report"]
