"""Training: data, losses, the loop, and the recipes of the bundled checkpoints."""
