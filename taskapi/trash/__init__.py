"""The trash: deleted tasks, until they are restored or their days are over."""
