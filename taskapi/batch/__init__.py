"""Many operations on tasks in one request."""
