"""What the service costs, measured beside others; nothing of it is part of the service."""
