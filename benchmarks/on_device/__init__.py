"""What one accelerator shows in a few minutes: correctness first, then speed (benchmarks/device.sh)."""
