"""Recomputes what a paper's printed tables say of each other: tables in, arithmetical contradictions out."""
