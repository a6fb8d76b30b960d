"""Users of the database who may do only what a role may."""

from sqlalchemy import make_url

from argosy.settings import Settings
from argosy.store import migrate, roles
from tests.support import databases

USERS = {"migrates": roles.OWNER, "works": roles.PROCESS, "calls": roles.CALLER}
"""Members of the roles, by their names."""


def give(settings: Settings) -> None:
    """Make the roles and their members on the server, and give them their rights in the database."""
    migrate.grant(settings)
    for user, role in USERS.items():
        databases.execute(
            settings.database_url.get_secret_value(),
            f"DO $$ BEGIN CREATE ROLE {user} LOGIN IN ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        )


def of(settings: Settings, user: str) -> Settings:
    """The settings of a process that connects as another user."""
    url = make_url(settings.database_url.get_secret_value()).set(username=user, password=None)
    address = url.render_as_string(hide_password=False)
    return Settings.model_validate(settings.model_dump() | {"database_url": address})
