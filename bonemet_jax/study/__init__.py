"""A study as a library: what the command line calls."""
