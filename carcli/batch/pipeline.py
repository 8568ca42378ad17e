"""Many images at once: while one is computed, others are decoded and encoded, within a bound on what is held.

A thread takes one image through all stages; the networks run in streams of their own, one for each worker: one for each
device, and two for a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from carcli.batch.history import History, NoHistory, settled_before
from carcli.batch.job import Idle, Job, Result
from carcli.batch.observer import SILENT, Observer
from carcli.batch.options import Options
from carcli.batch.pace import Pace, Spent
from carcli.batch.streams import Streams
from carcli.batch.window import Window
from carcli.batch.work import Worker
from carcli.errors import Abandoned, CarcliError, ImageError, UsageError, WeightsError
from carcli.images import codec
from carcli.images.kept import kept, refuse_transparency
from carcli.images.picture import Picture
from carcli.images.written import Encoding
from carcli.rescale.turn import Cancel
from carcli.runtime.files import state, write_whole
from carcli.runtime.paths import reason

HELD = 12  # bytes of memory a pixel of the larger of an image and its result


class _Pending(NamedTuple):
    """The next job, until there is room for it."""

    job: Job
    target: Path
    weight: int  # bytes


class _FolderError(ImageError):
    """The folder of an image's output cannot be made."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"its output folder {folder} cannot be made ({why})")
        self.kind = f"its output folder cannot be made ({why})"


class Pipeline:
    """Runs jobs. As many images are computed side by side as there are ``workers``; ``stop``, once true, begins nothing more."""

    def __init__(
        self,
        workers: Sequence[Worker],
        options: Options | None = None,
        *,
        encoding: Encoding | None = None,
        history: History | None = None,
        observer: Observer = SILENT,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.pace = Pace()
        self._workers, self._options = workers, options or Options()
        self._encoding = encoding or Encoding(level=self._options.compression)
        self._in_flight = self._options.in_flight  # asked once: it reads a container's limits
        self._history = history or NoHistory()
        self._observer, self._stop = observer, stop
        self._failures = 0
        self._unrecorded: CarcliError | None = None  # why the history could not be told of an image

    def slowest(self) -> str:
        """The stage that sets the pace."""
        return self.pace.slowest(self._in_flight, len(self._workers))

    def run(self, jobs: Iterable[Job | Idle]) -> Generator[Result]:
        """Process jobs and yield what became of each, in their order.

        An image larger than the memory for images in flight is processed alone. Where the caller
        stops listening, or an exception like ``KeyboardInterrupt`` comes through, images being
        computed are given up, those being written are finished, and nothing is left half done.

        Raises ``CarcliError``, after the results of all that was begun, where the history could not
        be told of one: nothing more is begun then.
        """
        self._failures, self._unrecorded = 0, None
        cancel = Cancel()
        streams = Streams(self._workers, cancel, self.pace)
        pool = ThreadPoolExecutor(self._in_flight, "image")
        window = Window(self._in_flight, self._options.room)
        source, ended = iter(jobs), False
        pending: _Pending | None = None
        try:
            while window or not ended:
                while not (ended or window.full):
                    if pending is None:
                        job = None if self._stopped() else next(source, None)
                        ended = job is None
                        if job is None or isinstance(job, Idle):
                            break
                        pending = self._prepared(job, window)
                    elif window.fits(pending.weight):
                        window.begin(pool.submit(self._settled, pending, streams), pending.weight)
                        pending = None
                    else:
                        break
                for result in window.results():
                    self._failures += result.status == "failed"
                    yield result
                window.wait()
            if self._unrecorded is not None:
                raise self._unrecorded
        except BaseException:
            cancel.request()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            streams.shutdown()

    def _stopped(self) -> bool:
        most = self._options.max_errors
        return self._unrecorded is not None or self._stop() or (most is not None and self._failures >= most)

    def _prepared(self, job: Job, window: Window) -> _Pending | None:
        """A job with its weight; None where it is settled without work, and in the window."""
        result = settled_before(job, self._options, self._history)
        if result is not None:
            self._told(result)
            window.settle(result)
            return None
        assert job.target is not None
        header, worker = codec.peek(job.source), self._workers[0]
        weight = 0 if header is None else HELD * header.pixels * max(1.0, worker.area(header), worker.held(header))
        return _Pending(job, job.target, round(weight))

    def _told(self, result: Result) -> None:
        try:
            self._history.record(result)
        except CarcliError as error:
            self._unrecorded = error
        self._observer.settled(result)

    def _settled(self, pending: _Pending, streams: Streams) -> Result:
        """Process a job, and note it before anybody can ask for the result: an interrupt cannot come between."""
        spent = Spent()
        source, target = pending.job.source, pending.target
        try:
            result = self._processed(source, target, streams, spent)
        except _FolderError as error:
            result = _failed(source, target, str(error), error.kind)
        except (ImageError, WeightsError, UsageError) as error:
            result = _failed(source, target, str(error))
        except OSError as error:
            result = _failed(source, target, reason(error))
        except MemoryError:
            result = _failed(source, target, "not enough memory for it")
        except Abandoned:
            raise
        except torch.OutOfMemoryError as error:
            result = _failed(source, target, _line(error), "not enough memory of the device for it")
        except RuntimeError as error:  # torch's
            result = _failed(source, target, _line(error))
        except Exception as error:  # whatever a decoder, a network or an encoder raises is this image's failure alone
            ours = "an error of carcli's: please report it, with the file"
            what = _line(f"{type(error).__name__}: {error}")
            result = _failed(source, target, f"{what}; {ours}", f"{type(error).__name__}; {ours}")
        result = replace(result, address=pending.job.address, seconds=spent.seconds)
        self._told(result)
        return result

    def _processed(self, source: Path, target: Path, streams: Streams, spent: Spent) -> Result:
        before = input_bytes, input_changed = state(source)
        with streams.wanted():
            picture = self.pace.timed("decode", lambda: codec.read(source), spent)
            if state(source) != before:
                raise ImageError("changed while it was read; run the same command again")
            refuse_transparency(picture, self._encoding.format)  # before it is computed for nothing
            output = streams.compute(picture, self._stopped, spent)
        size, notes = picture.size, picture.notes
        del picture

        held, left_out = kept(output.picture, self._encoding)
        self.pace.timed("encode", lambda: self._write(target, held), spent)
        return Result(
            source,
            target,
            "done",
            notes=(*notes, *output.notes, *left_out),
            untagged=output.untagged,
            format=self._encoding.format.name,
            quality=self._encoding.quality,
            model=output.model,
            precision=output.precision,
            backend=output.backend,
            input_size=size,
            output_size=output.picture.size,
            input_bytes=input_bytes,
            input_changed=input_changed,
            output_bytes=target.stat().st_size,
        )

    def _write(self, target: Path, held: Picture) -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _FolderError(target.parent, reason(error)) from error
        try:
            write_whole(target, lambda file: codec.encode_kept(held, file, self._encoding))
        except OSError as error:
            raise ImageError(f"cannot be written ({reason(error)})") from error


def _failed(source: Path, target: Path, reason: str, kind: str | None = None) -> Result:
    return Result(source, target, "failed", reason, kind or reason)


def _line(message: object) -> str:
    return " ".join(str(message).split())[:200]
