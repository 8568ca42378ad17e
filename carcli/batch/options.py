"""How a batch is run, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from carcli.errors import UsageError
from carcli.runtime.limits import cores, memory
from carcli.stores.url import Place


@dataclass(frozen=True)
class Options:
    """Which files are taken, what becomes of outputs that are there, and what a machine may spend.

    None of it decides what is written, but ``format``, ``quality`` and ``compression``.
    """

    recursive: bool = False  # go into folders of folders
    include: tuple[str, ...] = ()  # of folders, only files like this; empty: all
    exclude: tuple[str, ...] = ()
    from_file: Place | None = None  # names more inputs, one a line
    watch: bool = False  # go on with files that appear
    poll: float = 1.0  # seconds between looks at what is watched
    quiet_for: float = 2.0  # seconds that a watched file stays the same before it is taken to be complete
    overwrite: bool = False
    update: bool = False  # replace outputs whose source has changed since
    ignore_space: bool = False  # begin even where the disk seems too full
    max_errors: int | None = None  # begin nothing more after so many failures
    format: str | None = None  # png, webp, jpeg or avif; where None, as the output file is called, else png
    quality: int | None = None  # 1 to 100; where None, the usual one, and WebP without loss
    compression: int = 6  # zlib's level of the PNGs, 0 to 9
    devices: tuple[str, ...] = ("auto",)  # auto, cpu, cuda, cuda:N, mps
    workers: int = 0  # images in flight; 0: two more than the processors it may use
    memory: int = 0  # bytes that images in flight may take; 0: a half of what it may take
    executor: Literal["threads", "ray"] = "threads"  # of this process, or of a Ray cluster's machines, which see the same files
    address: str | None = None  # of the cluster; None: RAY_ADDRESS, else the one that runs here, else this machine alone

    def check(self) -> None:
        """Raises ``UsageError`` where some of it contradicts the rest, or asks for what is not installed."""
        if self.executor == "threads":
            if self.address is not None:
                raise UsageError("--address names a Ray cluster; add --executor ray, or leave it out")
            return
        if self.watch:
            raise UsageError("--watch stays on one machine; leave it out, or --executor ray")
        if len(self.devices) > 1 or any(":" in device for device in self.devices):
            raise UsageError(
                "a worker of a cluster has one device, which Ray chooses; leave --device out, or name its kind: cuda"
            )
        if find_spec("ray") is None or find_spec("pyarrow") is None:
            raise UsageError("--executor ray needs pip install 'carcli[ray]'")

    @property
    def in_flight(self) -> int:
        return self.workers or min(cores() + 2, 16)

    @property
    def room(self) -> int:
        return self.memory or memory() // 2
