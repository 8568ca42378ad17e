"""``python -m carcli.bench.speed resampler|down|networks|batch|memory``: how fast and how lean carcli is here."""

from carcli.bench.speed.cli import app

app(prog_name="python -m carcli.bench.speed")
