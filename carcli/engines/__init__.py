"""What computes a network on a tile: torch, or another engine that is given the network's graph."""
