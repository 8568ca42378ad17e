"""A batch on many machines, by Ray."""
