"""The service as processes: its start, workers, reloads, faults, proxies and commands."""
