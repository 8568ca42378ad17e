"""The networks alone."""
