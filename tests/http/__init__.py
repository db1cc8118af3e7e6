"""What every endpoint shares: problems, headers, idempotency, limits, logs and metrics."""
