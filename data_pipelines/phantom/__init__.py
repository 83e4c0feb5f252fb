"""Synthetic cohort with planted truth: clinical rows, T11-like slices in HU, event times."""

from data_pipelines.phantom.cohort import make_cohort
from data_pipelines.phantom.tabular import make_table

__all__ = ["make_cohort", "make_table"]
