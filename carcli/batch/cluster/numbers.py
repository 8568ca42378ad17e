"""Numbers of jobs as Ray Data reads them: like ``ray.data.range``, but where every processor computes, too."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata


class Numbers(Datasource):
    """Tables with a column ``id`` of the numbers below ``count``."""

    def __init__(self, count: int) -> None:
        self._count = count

    def estimate_inmemory_data_size(self) -> int:
        """Bytes of all of them."""
        return 8 * self._count

    def get_read_tasks(self, parallelism: int, *others: Any, **named: Any) -> list[ReadTask]:
        """As many tasks as are asked for, each of numbers that follow each other."""
        share = -(-self._count // parallelism)
        return [_task(range(first, min(first + share, self._count))) for first in range(0, self._count, share)]


def _task(numbers: range) -> ReadTask:
    size = BlockMetadata(num_rows=len(numbers), size_bytes=8 * len(numbers), input_files=None, exec_stats=None)
    return ReadTask(lambda: [pa.table({"id": pa.array(numbers, pa.int64())})], size)
