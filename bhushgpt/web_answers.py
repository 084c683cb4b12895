"""What a server's answer means for a learner: a file, a web page instead of it, or a failure.

Lesson: notebook 03.
"""

import requests


def is_web_page(start: bytes) -> bool:
    r"""Return whether bytes begin as a web page does, where a file was asked for.

    Example:
        >>> is_web_page(b"\r\n<!DOCTYPE html><html>Please log in."), is_web_page(b"To Sherlock")
        (True, False)

    Lesson: notebook 03.
    """
    start = start[:500].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    return start.startswith((b"<!doctype html", b"<html"))


def web_reason(error: requests.RequestException) -> str:
    """Return in words why a transfer failed, with the fix where there is one.

    Lesson: notebook 03.
    """
    if error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    reasons = (
        (
            requests.exceptions.ProxyError,
            "the proxy could not be reached (see the environment variable HTTPS_PROXY)",
        ),
        (
            requests.exceptions.SSLError,
            "the certificate was not accepted (a proxy in between? Then set REQUESTS_CA_BUNDLE to "
            "the file with its certificate)",
        ),
        (requests.exceptions.Timeout, "no answer in time"),
        (requests.exceptions.ConnectionError, "the server could not be reached"),
        (requests.exceptions.ChunkedEncodingError, "the transfer broke off in the middle"),
    )
    found = [reason for kind, reason in reasons if isinstance(error, kind)]
    return found[0] if found else f"the download failed ({type(error).__name__})"
