"""Checkpoints: the manifest, the files, and how they become networks."""
