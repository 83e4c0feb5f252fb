"""Records: canonical slices and the cohort table to sharded, checksummed TFDS records, written through Beam."""
