"""What the README tells people to type."""

from argosy.settings import Settings


def exported(settings: Settings, **others: str) -> dict[str, str]:
    """The environment of an argosy process with these settings."""
    keys = [key.get_secret_value() for key in settings.keys]
    assert settings.token_private_key is not None
    return {
        "ARGOSY_DATABASE_URL": settings.database_url.get_secret_value(),
        "ARGOSY_KEYS": ",".join(keys),
        "ARGOSY_TOKEN_PRIVATE_KEY": settings.token_private_key.get_secret_value(),
        "ARGOSY_TOKEN_PUBLIC_KEY": str(settings.token_public_key),
        "ARGOSY_METRICS_HOST": "127.0.0.1",
        "ARGOSY_TRUSTED_HOSTS": ",".join(settings.trusted_hosts),
        "ARGOSY_RELEASE_AFTER": str(settings.release_after),
    } | others
