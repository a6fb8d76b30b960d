"""What only some installations have: without the extra `worker` there is no Kubernetes client, and callers of the library need none.

Modules that need its libraries are imported when something of them is first used. So an API server that launches and reads imports, and
installs, a third of what a worker does; what it lacks is named by whoever asks for it.
"""

from importlib import import_module
from typing import Any

from argosy.errors import NotConfigured


class _Late:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        try:
            return getattr(import_module(self._name), attribute)
        except ModuleNotFoundError as error:
            raise missing(error) from error


def late(name: str) -> Any:
    """A module that is imported when something of it is first used.

    Args:
        name: Of the module.

    Raises:
        NotConfigured: (when it is used) A library that it needs is not installed.
    """
    return _Late(name)


def missing(error: ModuleNotFoundError) -> NotConfigured:
    """What to do about a library that is not installed."""
    extra = "api" if error.name in _OF_THE_GATEWAY else "worker"
    return NotConfigured(f'{error.name} is not installed, which this needs: pip install "argosy[{extra}]"')


_OF_THE_GATEWAY = {"fastapi", "jinja2", "limits", "uvicorn"}
