"""What a store answers when it does not do what it is asked, and how often it is asked again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

from carcli.errors import Abandoned, ImageError
from carcli.stores.store import never
from carcli.stores.url import Url

T = TypeVar("T")
Kind = Literal["gone", "bucket", "denied", "busy", "other"]

ATTEMPTS = 8  # which take three quarters of a minute
FIRST, LONGEST = 0.5, 30.0  # seconds between two
SLICE = 0.2  # seconds after which one that waits looks whether it is stopped

BUSY = {
    "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "ServiceUnavailable", "InternalError",
    "RequestTimeout", "OperationAborted", "TooManyRequests", "ServerBusy",
}  # fmt: skip
BUSY_STATUS = {408, 409, 429, 500, 502, 503, 504, 509}
REFUSED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
NO_CREDENTIALS = {
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError", "ProfileNotFound",
    "DefaultCredentialsError",
}  # fmt: skip
CUT = {  # of the libraries beneath, by name: they are not imported to be told apart
    "EndpointConnectionError", "ConnectionClosedError", "ConnectTimeoutError", "ReadTimeoutError", "ResponseStreamingError",
    "IncompleteReadError", "HTTPClientError", "ClientPayloadError", "ClientConnectionError", "ServerDisconnectedError",
    "ClientOSError", "ContentLengthError", "FSTimeoutError", "TimeoutError",
    "ServiceRequestError", "ServiceResponseError", "ProxyConnectionError",
}  # fmt: skip
HOW = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run: aws configure",
    "gs": "run: gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
    "az": "set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "memory": "",
}

sleep = time.sleep


class StoreError(ImageError):
    """A store did not do what it was asked. ``kind`` says whether all that is asked next will fail as well."""

    def __init__(self, url: Url, why: str, kind: Kind = "other") -> None:
        super().__init__(f"{url}: {why}")
        self.url, self.why, self.kind = url, why, kind

    @property
    def lasting(self) -> bool:
        """Whether it is likely to meet whatever is asked next of the same bucket."""
        return self.kind in ("bucket", "denied", "busy")


def attempted(url: Url, ask: Callable[[], T], stopped: Callable[[], bool] = never) -> T:
    """What a store answers, asked again while it is busy or cannot be reached, longer and longer apart.

    Raises ``StoreError``, and ``Abandoned`` once it is ``stopped``.
    """
    for attempt in range(ATTEMPTS):
        try:
            return ask()
        except (StoreError, Abandoned):
            raise
        except Exception as error:
            failure = told(error, url)
            if failure.kind != "busy" or attempt == ATTEMPTS - 1:
                raise failure from error
        _wait(min(FIRST * 2.0**attempt, LONGEST) * random.uniform(0.5, 1.0), stopped)
    raise AssertionError


def _wait(seconds: float, stopped: Callable[[], bool]) -> None:
    while seconds > 0:
        if stopped():
            raise Abandoned
        sleep(min(seconds, SLICE))
        seconds -= SLICE


def told(error: Exception, url: Url) -> StoreError:
    """What went wrong in a line, whichever library says it."""
    chain = list(_chain(error))
    names = {parent.__name__ for each in chain for parent in type(each).__mro__}
    code, status = next((answer for each in chain if any(answer := _answer(each))), ("", 0))
    if names & NO_CREDENTIALS:
        return StoreError(url, f"no credentials for it; {HOW[url.scheme]} (docs/stores.md)", "denied")
    if code == "NoSuchBucket":
        return StoreError(url, "there is no such bucket; create it, or correct the address", "bucket")
    if code == "RequestTimeTooSkewed":
        return StoreError(url, "this machine's clock is wrong, and the store takes no signature of it; set it", "denied")
    if code in REFUSED:
        return StoreError(url, f"the store does not accept the credentials ({code}); {HOW[url.scheme]}", "denied")
    if code in BUSY or status in BUSY_STATUS:
        why = f"the store is busy or out of order ({code or status})"
        return StoreError(url, f"{why}, after {ATTEMPTS} attempts; run the same command again later", "busy")
    if status in (401, 403) or any(isinstance(each, PermissionError) for each in chain):
        return StoreError(url, "access denied (403); ask whoever owns the bucket for the right to list, read and write", "denied")
    if status == 404 or any(isinstance(each, FileNotFoundError) for each in chain):
        return StoreError(url, "no such object", "gone")
    if status in (301, 307):
        return StoreError(url, "the bucket is in another region; set AWS_DEFAULT_REGION to it", "bucket")
    if names & CUT or any(isinstance(each, ConnectionError | TimeoutError) for each in chain):
        return StoreError(
            url, f"the store cannot be reached, after {ATTEMPTS} attempts; run the same command again later", "busy"
        )
    message = " ".join(str(error).split())[:200] or type(error).__name__
    return StoreError(url, f"{message} ({code or status})" if code or status else message)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _answer(error: Any) -> tuple[str, int]:
    """The code and the HTTP status that an error carries, as botocore, gcsfs and azure-core do."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        code = str(response.get("Error", {}).get("Code", ""))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return ("", int(code)) if code.isdigit() else (code, status if isinstance(status, int) else 0)
    for name in ("status_code", "status", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
            return str(getattr(error, "error_code", None) or ""), int(value)
    return "", 0
