"""Many images at once: while one is computed, others are decoded and encoded, within a bound on what is held.

A thread takes one image through all stages; the networks run in streams of their own, one for each worker: one for each
device, and two for a CPU.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from carcli.batch.ahead import Ahead, Turn
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
from carcli.stores.failures import StoreError
from carcli.stores.schemes import store_of
from carcli.stores.store import Stored
from carcli.stores.url import Place, Url, path_of

HELD = 12  # bytes of memory a pixel of the larger of an image and its result
AHEAD = 4  # of the memory for images in flight, the part that objects read ahead may take: one in so many
IN_A_ROW = 16  # images that a store does not give or take, after which it is asked for no more


class _Pending(NamedTuple):
    """The next job, until there is room for it."""

    job: Job
    target: Place
    weight: int  # bytes
    content: tuple[bytes, Stored] | None = None  # of an object


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
        self._ended_by: CarcliError | None = None  # why nothing more is begun: the history or a store is out of reach
        self._broken: CarcliError | None = None  # why no more jobs come: what has come is done all the same
        self._in_a_row = 0  # images that a store did not give or take
        self._cancelled: Callable[[], bool] = lambda: False

    def slowest(self) -> str:
        """The stage that sets the pace."""
        return self.pace.slowest(self._in_flight, len(self._workers))

    def run(self, jobs: Iterable[Job | Idle]) -> Generator[Result]:
        """Process jobs and yield what became of each, in their order.

        An image larger than the memory for images in flight is processed alone. Where the caller
        stops listening, or an exception like ``KeyboardInterrupt`` comes through, images being
        computed are given up, those being written are finished, and nothing is left half done.

        Raises ``CarcliError``, after the results of all that was begun, where the history could not
        be told of one, a store cannot be listed any further, or does nothing for many in a row: nothing
        more is begun then.
        """
        self._failures, self._ended_by, self._broken, self._in_a_row = 0, None, None, 0
        cancel = self._cancelled = Cancel()
        streams = Streams(self._workers, cancel, self.pace)
        pool = ThreadPoolExecutor(self._in_flight, "image")
        window = Window(self._in_flight, self._options.room)
        ahead, ended = self._ahead(jobs, cancel), False
        pending: _Pending | None = None
        try:
            while window or not ended:
                while not (ended or window.full):
                    if pending is None:
                        turn = self._next(ahead)
                        ended = turn is None
                        if turn is None or isinstance(turn, Idle):
                            break
                        pending = self._prepared(turn, window)
                    elif window.fits(pending.weight):
                        window.begin(pool.submit(self._settled, pending, streams), pending.weight)
                        pending = None
                    else:
                        break
                for result in window.results():
                    self._failures += result.status == "failed"
                    yield result
                window.wait()
            if (error := self._ended_by or self._broken) is not None:
                raise error
        except BaseException:
            cancel.request()
            raise
        finally:
            ahead.shutdown()
            pool.shutdown(cancel_futures=True)
            streams.shutdown()

    def _stopped(self) -> bool:
        return self._ended_by is not None or self._given_up()

    def _given_up(self) -> bool:
        """Whether nobody wants what waits to be computed; what has been begun is finished where a listing breaks off."""
        most = self._options.max_errors
        return self._stop() or (most is not None and self._failures >= most)

    def _ahead(self, jobs: Iterable[Job | Idle], cancelled: Callable[[], bool]) -> Ahead:
        return Ahead(
            iter(jobs),
            lambda job: settled_before(job, self._options, self._history),
            lambda: cancelled() or self._stopped(),
            self._in_flight,
            self._options.room // AHEAD,
        )

    def _next(self, ahead: Ahead) -> Turn | Idle | None:
        """The next one; None at the end, and where a store cannot be listed any further."""
        try:
            return None if self._stopped() else ahead.next()
        except CarcliError as error:
            self._broken = error
            return None

    def _prepared(self, turn: Turn, window: Window) -> _Pending | None:
        """A job with its weight; None where it is settled without work, and in the window."""
        job, result, content = turn.job, turn.settled, None
        if result is None and turn.content is not None:
            try:
                content = turn.content.result()
            except StoreError as error:
                result = self._refused(job, error)
            except Abandoned:
                return None
        if result is not None:
            self._told(result)
            window.settle(result)
            return None
        assert job.target is not None
        source = content[0] if content is not None else path_of(job.source)
        header, worker = codec.peek(source), self._workers[0]
        weight = 0 if header is None else HELD * header.pixels * max(1.0, worker.area(header), worker.held(header))
        return _Pending(job, job.target, round(weight) + (0 if content is None else content[1].size), content)

    def _refused(self, job: Job, error: StoreError) -> Result:
        """The failure of an image that a store did not give or take; after many in a row nothing more is begun."""
        self._in_a_row += error.lasting
        if self._in_a_row >= IN_A_ROW:
            self._ended_by = CarcliError(f"{error}: {self._in_a_row} images in a row; nothing more was begun")
        reason = error.why if error.url == job.source else str(error)
        return _failed(job.source, job.target, reason, error.why)

    def _told(self, result: Result) -> None:
        try:
            self._history.record(result)
        except CarcliError as error:
            self._ended_by = error
        self._observer.settled(result)

    def _settled(self, pending: _Pending, streams: Streams) -> Result:
        """Process a job, and note it before anybody can ask for the result: an interrupt cannot come between."""
        spent = Spent()
        source, target = pending.job.source, pending.target
        try:
            result = self._processed(pending, streams, spent)
            self._in_a_row = 0
        except _FolderError as error:
            result = _failed(source, target, str(error), error.kind)
        except StoreError as error:
            result = self._refused(pending.job, error)
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

    def _processed(self, pending: _Pending, streams: Streams, spent: Spent) -> Result:
        source, target, content = pending.job.source, pending.target, pending.content
        before = state(path_of(source)) if content is None else (content[1].size, content[1].changed)
        with streams.wanted():
            if content is None:
                picture = self.pace.timed("decode", lambda: codec.read(path_of(source)), spent)
                if state(path_of(source)) != before:
                    raise ImageError("changed while it was read; run the same command again")
            else:
                picture = self.pace.timed("decode", lambda: codec.decode(content[0], source.suffix), spent)
            refuse_transparency(picture, self._encoding.format)  # before it is computed for nothing
            output = streams.compute(picture, self._given_up, spent)
        size, notes = picture.size, picture.notes
        del picture

        held, left_out = kept(output.picture, self._encoding)
        output_bytes = self.pace.timed("encode", lambda: self._write(target, held), spent)
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
            input_bytes=before[0],
            input_changed=before[1],
            input_etag=(content[1].etag or None) if content is not None else None,
            output_bytes=output_bytes,
        )

    def _write(self, target: Place, held: Picture) -> int:
        """Returns how many bytes it has."""
        if isinstance(target, Url):
            file = io.BytesIO()
            codec.encode_kept(held, file, self._encoding)
            data = file.getvalue()
            store_of(target).write(target, data, self._cancelled)
            return len(data)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _FolderError(target.parent, reason(error)) from error
        try:
            write_whole(target, lambda file: codec.encode_kept(held, file, self._encoding))
        except OSError as error:
            raise ImageError(f"cannot be written ({reason(error)})") from error
        return target.stat().st_size


def _failed(source: Place, target: Place | None, reason: str, kind: str | None = None) -> Result:
    return Result(source, target, "failed", reason, kind or reason)


def _line(message: object) -> str:
    return " ".join(str(message).split())[:200]
