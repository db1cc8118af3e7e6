"""Documents that must be true: the README, guides, the OpenAPI document, its collections."""
