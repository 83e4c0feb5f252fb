"""Other people's ways of doing the same work, each as its users would write it."""

import os

# Read once, as PyTorch or XGBoost is loaded. Spinning while they wait for each other, the threads of OpenMP slow
# whatever else runs, ours in the same process too, and on a busy machine themselves 10 to 50 times.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
