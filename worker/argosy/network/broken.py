"""Why a request of aiohttp got no answer, in words that hold nothing of what was answered, and few of the library's own.

The library quotes what it could not read. So whoever may name an address, of a webhook or of a cluster, read the first line of whatever
listens there: the banner of a server that speaks another protocol, for example (T15).
"""

import os
import ssl

import aiohttp


def words(error: Exception) -> str:
    """What happened; to be cleaned, because the library also quotes what it could not send.

    Args:
        error: What aiohttp or the system raised.
    """
    where = f"{error.host}:{error.port}: " if isinstance(error, aiohttp.ClientConnectorError) else ""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    match cause:
        case TimeoutError(errno=None):
            return "not in time"
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            return "it is not HTTP, or was cut off"
        case ssl.SSLCertVerificationError():
            return f"{where}certificate verify failed: {cause.verify_message}"
        case ssl.SSLError():
            return f"{where}{cause.reason or cause}"
        case OSError(errno=int(number)) if number > 0:
            return f"{where}{os.strerror(number)}"
        case OSError(strerror=str(said)):
            return f"{where}{said}"
        case _:
            return f"{where}{type(cause).__name__} {cause}".strip()
