"""One webhook: a signed request as the Standard Webhooks specification has it, so that receivers find a library to check it.

Its id follows from the launch and how it ended, so a receiver recognises a repetition.
"""

import base64
import hmac
import time

import aiohttp
import orjson
from yarl import URL

from argosy.crypto import webhook_keys
from argosy.inputs import clean
from argosy.network import broken
from argosy.network.guard import ForbiddenAddress, Resolver, outside
from argosy.notify.delivery import Undelivered
from argosy.settings import Settings
from argosy.store.outbox import Notification

_SECONDS = 10.0
"""For a whole delivery."""

_GONE = 410


class Webhooks:
    """Delivers webhooks, until it is closed.

    Args:
        settings: The keys, and the hosts that are trusted.
    """

    kind = "webhook"

    def __init__(self, settings: Settings) -> None:
        self._guard = outside(settings.webhook_hosts)
        self._keys = settings.webhook_key
        connector = aiohttp.TCPConnector(resolver=Resolver(self._guard), force_close=True, use_dns_cache=False)
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def deliver(self, notification: Notification) -> str:
        """See `Delivery.deliver`."""
        body = orjson.dumps(notification.body)
        try:
            url = URL(notification.recipient)
            self._guard.check_url(url)
            async with self._session.post(
                url, data=body, headers=self._headers(notification, body), allow_redirects=False
            ) as answer:
                status = answer.status  # what it says is nobody's business
        except ForbiddenAddress as error:
            raise Undelivered(str(error), final=True) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if isinstance(error.__cause__, ForbiddenAddress):
                raise Undelivered(str(error.__cause__), final=True) from error
            raise Undelivered(f"no answer: {clean(broken.words(error), limit=300)}") from error
        if not 200 <= status < 300:
            raise Undelivered(f"it answered {status}", final=status == _GONE)
        return ""

    def _headers(self, notification: Notification, body: bytes) -> dict[str, str]:
        moment = str(int(time.time()))
        said = f"{notification.key}.{moment}.".encode() + body
        signed = [hmac.digest(key, said, "sha256") for key in webhook_keys(self._keys, notification.project)]
        return {
            "content-type": "application/json",
            "user-agent": "argosy",
            "webhook-id": notification.key,
            "webhook-timestamp": moment,
            "webhook-signature": " ".join(f"v1,{base64.b64encode(each).decode()}" for each in signed),
        }
