"""Studies of what the system says where the truth is known: many seeds, minutes to an hour, figures as JSON."""
