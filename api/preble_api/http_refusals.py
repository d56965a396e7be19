"""What a connection is told where the application is not asked: whole answers, and why."""

from http import HTTPStatus
from typing import Final

from preble_api.edge import REQUEST_ID, new_request_id
from preble_api.errors import HttpError, answer

_RETRY_AFTER_S: Final = 1.0


def whole(error: HttpError) -> bytes:
    """An answer, head and body, that says that the connection is closed."""
    request_id = new_request_id()
    response = answer(error, request_id.decode())
    headers = [*response.raw_headers, (REQUEST_ID, request_id), (b"connection", b"close")]
    head = b"".join(b"%b: %b\r\n" % each for each in headers)
    status = f"HTTP/1.1 {error.status:d} {error.status.phrase}\r\n"
    return status.encode() + head + b"\r\n" + bytes(response.body)


def invalid(message: str) -> HttpError:
    """What came is not HTTP as it is understood here."""
    return HttpError(HTTPStatus.BAD_REQUEST, "invalid_http", message)


def long_url(most_bytes: int) -> HttpError:
    """The URL is too long."""
    message = f"the URL has more than {most_bytes} bytes"
    return HttpError(HTTPStatus.REQUEST_URI_TOO_LONG, "url_too_long", message)


def many_headers(most: int) -> HttpError:
    """There are too many headers."""
    message = f"the request has more than {most} headers"
    return HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too_many_headers", message)


def too_slow(what: str) -> HttpError:
    """A part of the request did not come in time."""
    message = f"the {what} of the request came too slowly"
    return HttpError(HTTPStatus.REQUEST_TIMEOUT, "too_slow", message, retry_after_s=_RETRY_AFTER_S)


def too_many(connections: int) -> HttpError:
    """There are as many clients as there may be."""
    message = f"this api has its {connections} connections; come back later"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return HttpError(status, "too_many_connections", message, retry_after_s=_RETRY_AFTER_S)
