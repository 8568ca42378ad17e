"""The service as HTTP: what comes in is bounded, what cannot be done is one line, who has left is not computed for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from typing import Annotated, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

from carcli.errors import Abandoned, CarcliError, ImageError
from carcli.images import written
from carcli.images.tag import MAX_SCALE
from carcli.rescale.turn import Cancel
from carcli.runtime.text import shown
from carcli.serve.service import Answer, Limits, Service
from carcli.version import __version__

T = TypeVar("T")
LOOK = 0.1  # seconds between looks at whether a client is still there
SLIDER = "/* slider.js */"  # where the page has it
GONE = 499  # the client closed its connection
POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
)

Model = Annotated[str | None, Query(max_length=500, description="a family or a checkpoint")]
AnyScale = Annotated[float | None, Query(ge=1, le=MAX_SCALE, allow_inf_nan=False)]
Form = Annotated[str, Query(alias="format", max_length=10, description="png, webp, jpeg or avif")]
Quality = Annotated[int | None, Query(ge=1, le=100)]
Scale = Annotated[int | None, Query(ge=1, le=MAX_SCALE)]


class Refused(Exception):  # noqa: N818 - what it is
    """A request that is turned away, with an HTTP status and a line of reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Turns:
    """Who computes, and who waits."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._places, self._waiting = limits, asyncio.Semaphore(limits.jobs), 0
        self._running: set[Cancel] = set()

    async def compute(self, request: Request, work: Callable[[Cancel], T]) -> T:
        """What ``work`` returns, in a thread, once there is a place. Raises ``Abandoned`` once the client has left."""
        if self._waiting >= self._limits.waiting:
            raise Refused(503, "too many images are waiting; try again in a while")
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        cancel = Cancel()
        self._running.add(cancel)
        try:
            computing = asyncio.create_task(asyncio.to_thread(work, cancel))
            while not (await asyncio.wait({computing}, timeout=LOOK))[0]:
                if await request.is_disconnected():
                    cancel.request()
            return computing.result()
        finally:
            self._running.discard(cancel)
            self._places.release()

    def stop(self) -> None:
        """Give up whatever is being computed."""
        for cancel in self._running:
            cancel.request()


async def _body(request: Request, limits: Limits) -> bytes:
    """A request's whole body. Raises ``Refused`` where it is too large, or too slow."""
    too_large = Refused(413, f"is larger than {limits.body / 1e6:.0f} MB, which is what this server takes")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.body:
        raise too_large

    async def received() -> bytes:
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > limits.body:
                raise too_large
        return bytes(data)

    try:
        return await asyncio.wait_for(received(), limits.seconds)
    except asyncio.TimeoutError as error:
        raise Refused(408, f"did not arrive within {limits.seconds:.0f} s") from error


def _image(answer: Answer) -> Response:
    headers = {
        "X-Carcli-Model": answer.model,
        "X-Carcli-Size": f"{answer.width}x{answer.height}",
        "X-Carcli-Notes": json.dumps([shown(note) for note in answer.notes]),
    }
    return Response(answer.file, media_type=answer.media_type, headers=headers)


def _refusal(status: int, reason: object) -> JSONResponse:
    return JSONResponse({"error": shown(str(reason))}, status)


def _part(name: str) -> str:
    return (resources.files("carcli") / name).read_text(encoding="utf-8")


def application(service: Service, hosts: Sequence[str] = ("*",)) -> FastAPI:
    """The server's routes; ``hosts`` are the names under which it answers."""
    limits = service.limits
    turns = Turns(limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        turns.stop()

    web = FastAPI(title="carcli", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    web.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    page = _part("serve/page.html").replace(SLIDER, _part("pages/slider.js"))

    @web.middleware("http")
    async def safe(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @web.exception_handler(CarcliError)
    async def failed(_: Request, error: Exception) -> Response:
        return _refusal(GONE if isinstance(error, Abandoned) else 422 if isinstance(error, ImageError) else 400, error)

    @web.exception_handler(Refused)
    async def refused(_: Request, error: Exception) -> Response:
        return _refusal(error.status if isinstance(error, Refused) else 500, error)

    @web.exception_handler(RequestValidationError)
    async def wrong(_: Request, error: Exception) -> Response:
        problems = error.errors() if isinstance(error, RequestValidationError) else []
        return _refusal(400, "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in problems))

    @web.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:
        scarce = isinstance(error, MemoryError) or "memory" in str(error)
        return _refusal(
            503 if scarce else 500, "not enough memory for it" if scarce else f"an error of carcli's: {type(error).__name__}"
        )

    @web.get("/", response_class=HTMLResponse)
    async def home() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})

    @web.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether it lives, and which version it is."""
        return {"status": "ok", "version": __version__}

    @web.post("/down", response_class=Response)
    async def down(
        request: Request, model: Model = None, scale: AnyScale = None, form: Form = "png", quality: Quality = None
    ) -> Response:
        """An image file → its LR image."""
        encoding = written.encoding(form, quality)
        file = await _body(request, limits)
        return _image(await turns.compute(request, lambda cancel: service.down(file, model, scale, cancel, encoding)))

    @web.post("/up", response_class=Response)
    async def up(request: Request, model: Model = None, scale: Scale = None) -> Response:
        """An LR image file → the restored image, a PNG."""
        file = await _body(request, limits)
        return _image(await turns.compute(request, lambda cancel: service.up(file, model, scale, cancel)))

    @web.post("/info")
    async def info(request: Request) -> JSONResponse:
        """Size and tag of an image file."""
        file = await _body(request, limits)
        return JSONResponse(await turns.compute(request, lambda cancel: service.info(file)))

    return web
