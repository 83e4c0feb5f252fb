"""Real input: CT series and clinical tables become a cohort directory or a table of areas."""

from data_pipelines.ingest.cohort import ingest, measure
from data_pipelines.ingest.patients import Failure, Patient, read_patients
from data_pipelines.ingest.source import Choice, IngestedSlice, read_source

__all__ = ["Choice", "Failure", "IngestedSlice", "Patient", "ingest", "measure", "read_patients", "read_source"]
