"""Tasks: what their owners keep here."""
