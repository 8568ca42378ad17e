"""Many images: which, how, in what order, and what became of each."""
