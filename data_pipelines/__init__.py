"""Ways in and out of raw data: synthetic cohort, intake, body composition, sharded records."""
