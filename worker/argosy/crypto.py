"""Sealing: secrets in the database are useless without the keys, which only the processes have.

There are two kinds. Cluster credentials are written and read by argosy, with a ring of Fernet keys. Launch tokens are written by API
servers in any language, as a libsodium sealed box: a caller needs only the public key and can open nothing, not even what it has sealed
itself (P8). Keys of both kinds are rings, so that they can be changed while argosy runs: the first key seals, all open (sealing.py).
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from hmac import digest
from secrets import token_bytes
from typing import Protocol

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from pydantic import SecretStr

from argosy.errors import NotConfigured, SealBroken


class Ring(Protocol):
    """Keys of one kind, newest first."""

    def seal(self, text: str) -> bytes:
        """Seal with the newest key."""
        ...

    def open(self, sealed: bytes) -> str:
        """Open with the key that sealed it.

        Raises:
            SealBroken: None of the keys sealed it.
        """
        ...

    def newest(self, sealed: bytes) -> bool:
        """Whether the newest key has sealed it."""
        ...


class KeyRing:
    """Seals and opens cluster credentials; a `Ring`.

    Args:
        keys: Fernet keys, newest first.

    Raises:
        NotConfigured: There is none, or one is no key.
    """

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        if not keys:
            raise NotConfigured(f"ARGOSY_KEYS is not set; {_MAKE}")
        try:
            self._keys = [Fernet(key.get_secret_value()) for key in keys]
        except ValueError:
            # The library's text is not shown: it may hold a part of the key.
            raise NotConfigured(f"ARGOSY_KEYS: each must be 32 bytes in URL-safe base64; {_MAKE}") from None
        self._ring = MultiFernet(self._keys)

    def seal(self, text: str) -> bytes:
        """Seal with the newest key."""
        return self._ring.encrypt(text.encode())

    def open(self, sealed: bytes) -> str:
        """See `Ring.open`."""
        try:
            return self._ring.decrypt(sealed).decode()
        except (InvalidToken, UnicodeDecodeError):
            raise SealBroken(
                "none of ARGOSY_KEYS opens this credential; add the key that sealed it, or enter the credential again"
            ) from None

    def newest(self, sealed: bytes) -> bool:
        """See `Ring.newest`."""
        try:
            self._keys[0].decrypt(sealed)
        except InvalidToken:
            return False
        return True


class TokenRing:
    """Opens launch tokens, and seals them to the newest key; a `Ring`.

    Args:
        keys: `ARGOSY_TOKEN_PRIVATE_KEY`: base64 X25519 private keys, newest first, separated by commas.

    Raises:
        NotConfigured: There is none, or one is no key.
    """

    def __init__(self, keys: SecretStr | None) -> None:
        if keys is None:
            raise NotConfigured(f"ARGOSY_TOKEN_PRIVATE_KEY is not set: launch tokens cannot be opened; {_MAKE}")
        try:
            self._keys = [PrivateKey(b64decode(key, validate=True)) for key in keys.get_secret_value().split(",")]
        except (ValueError, CryptoError):
            raise NotConfigured(
                f"ARGOSY_TOKEN_PRIVATE_KEY: each key must be 32 bytes in base64, separated by commas; {_MAKE}"
            ) from None
        self.public_keys = [b64encode(bytes(key.public_key)).decode() for key in self._keys]

    def seal(self, text: str) -> bytes:
        """Seal to the newest key."""
        return bytes(SealedBox(self._keys[0].public_key).encrypt(text.encode()))

    def open(self, sealed: bytes) -> str:
        """See `Ring.open`."""
        for key in self._keys:
            try:
                return bytes(SealedBox(key).decrypt(sealed)).decode()
            except (ValueError, CryptoError):
                continue
        raise SealBroken(
            "ARGOSY_TOKEN_PRIVATE_KEY does not open this launch's token; add the key to which it was sealed, or launch again"
        )

    def newest(self, sealed: bytes) -> bool:
        """See `Ring.newest`."""
        try:
            SealedBox(self._keys[0]).decrypt(sealed)
        except (ValueError, CryptoError):
            return False
        return True


_SIGNS = 24
"""The fewest bytes of a key that signs, as Standard Webhooks have it."""


def webhook_keys(keys: SecretStr | None, project: int) -> list[bytes]:
    """The keys that sign a project's webhooks, newest first. Each project has its own, made from the installation's: who can check a
    signature can also make one, and is to make none in another project's name (T23).

    Args:
        keys: `ARGOSY_WEBHOOK_KEY`: each `whsec_` and base64, newest first, separated by commas.
        project: Whose.

    Raises:
        NotConfigured: There is none, or one is no key.
    """
    if keys is None:
        raise NotConfigured("ARGOSY_WEBHOOK_KEY is not set; make one: argosy keys")
    try:
        found = [b64decode(key.removeprefix("whsec_"), validate=True) for key in keys.get_secret_value().split(",")]
    except ValueError:
        found = [b""]
    if min(map(len, found)) < _SIGNS:
        raise NotConfigured(
            f"ARGOSY_WEBHOOK_KEY: each must be whsec_ and {_SIGNS} bytes or more in base64, separated by commas; make one: argosy keys"
        )
    return [digest(key, f"argosy webhooks of project {project}".encode(), "sha256") for key in found]


_MAKE = "a new installation makes its keys once, with: argosy keys; all its processes have the same"


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


def open_token(sealed: bytes | None, private_keys: SecretStr | None) -> str:
    """A launch's token; empty if it has none.

    Raises:
        NotConfigured: There is no key.
        SealBroken: It was sealed to another key.
    """
    return "" if sealed is None else TokenRing(private_keys).open(sealed)


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
