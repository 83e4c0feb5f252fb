"""Must-shows of each issue, run from a fresh clone: `make evidence ISSUE=name`."""
