"""One self-contained page that reads like a results section, and every number of it as JSON."""
