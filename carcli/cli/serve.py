"""``carcli serve``: images over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from carcli.cli import complete
from carcli.cli.choices import Backend, Precision
from carcli.cli.common import BackendOption, Device, PrecisionOption, note_precision
from carcli.models.families import DEFAULT


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one of this machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    model: Annotated[str, typer.Option(help="Of /down, where a request names none.", autocompletion=complete.model)] = DEFAULT,
    max_mb: Annotated[float, typer.Option(min=0.001, help="Largest file that is taken, MB.")] = 64,
    max_megapixels: Annotated[float, typer.Option(min=0.001, max=512, help="Largest image that is taken or made.")] = 50,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Images computed at once.")] = 1,
    waiting: Annotated[int, typer.Option(min=1, help="Images that wait for their turn; more are sent away.")] = 16,
    device: Device = "auto",
    precision: PrecisionOption = Precision.auto,
    backend: BackendOption = Backend.torch,
) -> None:
    """Shrink and restore images over HTTP: POST files to /down and /up, or open the address in a browser."""
    from carcli.engines.names import check_backend
    from carcli.weights.choose import choose

    check_backend(backend.value, precision.value, device)
    choose(model, None)  # an unknown model is an error at once
    from carcli.cli.serving import serve_forever

    note_precision(device, precision)
    serve_forever(
        host=host,
        port=port,
        model=model,
        body=round(max_mb * 1e6),
        pixels=round(max_megapixels * 1e6),
        jobs=jobs,
        waiting=waiting,
        device=device,
        precision=precision.value,
        backend=backend.value,
    )
