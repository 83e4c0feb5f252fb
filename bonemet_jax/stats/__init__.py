"""Statistics as pure functions on arrays; `run.py` is the shell that reads a run and writes stats/*.json."""
