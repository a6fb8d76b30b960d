"""To whom a caller may have mails sent: members of the project, as the platform's list of them says; where no platform can be asked,
addresses of the domains that the operator lists."""

from argosy.api.callers import Forbidden
from argosy.api.routing import Called
from argosy.errors import InvalidRequest
from argosy.shapes.mails import EmailSpec, split_recipient


def check(called: Called, project: int, spec: EmailSpec | None) -> None:
    """Check a mail that a caller wants to have sent.

    Raises:
        Forbidden: Somebody may not get it.
        InvalidRequest: It attaches something, and these credentials hold no token to fetch it with.
        PlatformAway: The platform cannot be asked.
    """
    if spec is None:
        return
    if spec.attachments and called.caller.sealed() is None:
        raise InvalidRequest(
            "attachments: they are fetched from the platform with your token, and these credentials hold none: send the platform's token "
            "as Authorization: Token …"
        )
    if called.gateway.settings.auth == "tokens":
        domains = {domain.lower() for domain in called.gateway.settings.mail_domains}
        refused = [address for address in spec.people() if address.rpartition("@")[2] not in domains]
        why = "no platform says who is a member, so an operator lists domains in ARGOSY_MAIL_DOMAINS; not among them"
    else:
        members = _members(called, project)
        refused = [address for address in spec.people() if address.lower() not in members]
        why = f"mails go to members of project {project} only; not among them"
    if refused:
        raise Forbidden(f"{why}: {', '.join(refused[:10])}")


def _members(called: Called, project: int) -> set[str]:
    """The addresses of a project's members, as the caller may see them."""
    found = called.gateway.platform.listed(f"Memberships/{project}", called.caller.credentials)
    return {_address(str(each.get("email") or "")) for each in found}


def _address(email: str) -> str:
    try:
        return split_recipient(email)[1].lower()
    except ValueError:
        return ""
