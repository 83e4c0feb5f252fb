"""Records to batches: `records` reads shards, `order` deals them, `resident` keeps the cohort on the device."""
