"""One image through one half of a pair."""
