"""The change feed: what a device that was away has missed."""
