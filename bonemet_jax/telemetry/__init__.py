"""Step times and what they were measured on."""
