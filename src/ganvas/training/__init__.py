"""Training: read `step`, then `learner`, `batches` and `loop`."""
