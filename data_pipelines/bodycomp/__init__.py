"""Body composition: tissue areas, indices and overlays of canonical slices."""
