"""Sealing: secrets in the database are useless without the keys, which only the processes have.

There are two kinds. Cluster credentials are written and read by argosy, with a ring of Fernet keys, so that keys can be rotated while
argosy runs (the first key seals, all keys open). Launch tokens are written by API servers in any language, as a libsodium sealed box: a
caller needs only the public key and can open nothing, not even what it has sealed itself (P8).
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from secrets import token_bytes

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from pydantic import SecretStr

from argosy.errors import NotConfigured, SealBroken


class KeyRing:
    """Seals and opens cluster credentials.

    Args:
        keys: Fernet keys, newest first.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise NotConfigured(
                "ARGOSY_KEYS is empty: cluster credentials cannot be sealed; make keys with: argosy keys"
            )
        try:
            self._ring = MultiFernet([Fernet(key) for key in keys])
        except ValueError as error:
            raise NotConfigured(f"ARGOSY_KEYS: {error}; make keys with: argosy keys") from error

    def seal(self, text: str) -> bytes:
        """Seal with the newest key."""
        return self._ring.encrypt(text.encode())

    def open(self, sealed: bytes) -> str:
        """Open with the key that sealed it.

        Raises:
            SealBroken: None of the keys sealed it.
        """
        try:
            return self._ring.decrypt(sealed).decode()
        except InvalidToken as error:
            raise SealBroken(
                "none of ARGOSY_KEYS opens this credential; add the key that sealed it, or enter the credential again"
            ) from error


def seal_token(token: str, public_key: str) -> bytes:
    """Seal a launch token to the workers' public key.

    Args:
        token: The user's API token.
        public_key: `ARGOSY_TOKEN_PUBLIC_KEY`, base64.
    """
    try:
        return bytes(SealedBox(PublicKey(b64decode(public_key))).encrypt(token.encode()))
    except (ValueError, CryptoError) as error:
        raise NotConfigured(
            f"ARGOSY_TOKEN_PUBLIC_KEY is not an X25519 key ({error}); make a pair with: argosy keys"
        ) from error


def open_token(sealed: bytes | None, private_key: SecretStr | None) -> str:
    """A launch's token; empty if it has none.

    Raises:
        NotConfigured: There is no key.
        SealBroken: It was sealed to another key.
    """
    if sealed is None:
        return ""
    if private_key is None:
        raise NotConfigured("ARGOSY_TOKEN_PRIVATE_KEY is not set: launch tokens cannot be opened")
    try:
        return bytes(SealedBox(PrivateKey(b64decode(private_key.get_secret_value()))).decrypt(sealed)).decode()
    except (ValueError, CryptoError) as error:
        raise SealBroken(f"ARGOSY_TOKEN_PRIVATE_KEY does not open this launch's token ({error})") from error


def public_key(private_key: SecretStr) -> str:
    """The public key of a pair, base64.

    Raises:
        NotConfigured: This is no private key.
    """
    try:
        return b64encode(bytes(PrivateKey(b64decode(private_key.get_secret_value())).public_key)).decode()
    except (ValueError, CryptoError) as error:
        raise NotConfigured("ARGOSY_TOKEN_PRIVATE_KEY is not an X25519 key; make a pair with: argosy keys") from error


def new_keys() -> dict[str, str]:
    """New keys of both kinds, by the name of their environment variable."""
    private = PrivateKey.generate()
    return {
        "ARGOSY_KEYS": Fernet.generate_key().decode(),
        "ARGOSY_TOKEN_PRIVATE_KEY": b64encode(bytes(private)).decode(),
        "ARGOSY_TOKEN_PUBLIC_KEY": b64encode(bytes(private.public_key)).decode(),
        "ARGOSY_WEBHOOK_KEY": f"whsec_{b64encode(token_bytes(32)).decode()}",
    }
