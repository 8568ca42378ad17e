"""How fast this machine is, and how much memory it takes: ``python -m carcli.bench.speed``."""
