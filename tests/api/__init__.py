"""Endpoints and what they do, asked through Flask's test client."""
