"""Checks of a cohort before it is used or handed on, and the card that describes it."""

from data_pipelines.checks.verify import Verification, verify

__all__ = ["Verification", "verify"]
