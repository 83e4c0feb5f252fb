"""The clinical table of a clinic: bytes -> cells -> values, every finding with row and column."""
