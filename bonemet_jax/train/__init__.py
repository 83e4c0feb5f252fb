"""The training engine: a pure step, the wrapper that knows devices, the loop, checkpoints."""
