"""How much of its workers' time a cluster keeps busy, and what an image costs the one who asks, with workers that only wait."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from carcli.batch import run
from carcli.batch.observer import SILENT, Observer
from carcli.batch.options import Options
from carcli.batch.work import Output, Worker
from carcli.images.codec import Header
from carcli.images.picture import Picture
from carcli.images.written import Encoding
from carcli.rescale.turn import ALONE, Turn

WARM = 40  # images a worker, before time counts: by then every worker has begun


class _Waiting:
    """Gives a picture back as it is, after so many seconds in which nothing is computed."""

    settings = "waiting"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def area(self, header: Header) -> float:
        return 1.0

    def held(self, header: Header) -> float:
        return 1.0

    def __call__(self, picture: Picture, turn: Turn = ALONE) -> Output:
        time.sleep(self._seconds)
        return Output(picture, "waiting")


@dataclass(frozen=True)
class Wait:
    """A task of so many seconds an image."""

    verb: ClassVar[str] = "down"
    makes_lr: ClassVar[bool] = False

    seconds: float

    def check(self, encoding: Encoding) -> None:
        """Nothing can be wrong with it."""

    def load(self, device: str, observer: Observer = SILENT, encoding: Encoding | None = None) -> Sequence[Worker]:
        """One worker."""
        return [_Waiting(self.seconds)]


def measure(machines: int, images: int, seconds: float) -> dict[str, Any]:
    """A batch of ``images`` for each of so many machines of one processor, which takes ``seconds`` for each.

    The share of the time of the workers in which they work, from when each has begun, and seconds of processor that the one who
    asks spends on an image.
    """
    import ray
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / "hr"
        photos.mkdir()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(photos / "0.png")
        count = machines * (images + WARM)
        for number in range(1, count):
            (photos / f"{number}.png").hardlink_to(photos / "0.png")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        try:
            for _ in range(machines - 1):
                cluster.add_node(num_cpus=1)
            ray.init(cluster.address, log_to_driver=False)
            cluster.wait_for_nodes()
            arrived, spent = [], []
            for _ in run(Wait(seconds), [photos], Path(place) / "lr", Options(executor="ray", address="auto", workers=1)):
                arrived.append(time.perf_counter())
                spent.append(time.process_time())
        finally:
            ray.shutdown()
            cluster.shutdown()
    first, last = machines * WARM, len(arrived) - 1 - machines  # the end, where some have nothing left to do, does not count
    took = (arrived[last] - arrived[first]) / (last - first)
    return {
        "machines": machines,
        "images": len(arrived),
        "seconds_an_image": seconds,
        "of_workers": seconds / machines / took,
        "seconds_of_driver_an_image": (spent[last] - spent[first]) / (last - first),
    }
