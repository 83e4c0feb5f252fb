"""Real input: CT series and clinical tables become a cohort directory or a table of areas."""

from data_pipelines.ingest.cohort import ingest, measure
from data_pipelines.ingest.source import Choice, IngestedSlice, read_source

__all__ = ["Choice", "IngestedSlice", "ingest", "measure", "read_source"]
