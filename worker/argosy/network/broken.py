"""Why a request of aiohttp got no answer, in words that hold nothing of what was answered.

The library quotes what it could not read. So whoever may name an address, of a webhook or of a cluster, read the first line of whatever
listens there: the banner of a server that speaks another protocol, for example (T15).
"""

import aiohttp


def words(error: Exception) -> str:
    """What happened; to be cleaned, because the library also quotes what it could not send.

    Args:
        error: What aiohttp or the system raised.
    """
    match error:
        case TimeoutError():
            return "not in time"
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            return "it is not HTTP, or was cut off"
        case _:
            return f"{type(error).__name__} {error}".strip()
