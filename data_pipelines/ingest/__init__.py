"""Room to be written."""
