"""The routes of the page, so that what is tried with one is tried with all."""

from collections.abc import Iterator

from fastapi.routing import APIRoute
from starlette.routing import Mount

from tests.integration.page.conftest import World


def routes(world: World) -> Iterator[tuple[str, APIRoute]]:
    """Each with its method and path as one word."""
    (page,) = (route.app for route in world.app.routes if isinstance(route, Mount))
    for router in page.routes:  # type: ignore[attr-defined]
        for route in router.original_router.routes:
            for method in route.methods - {"HEAD"}:
                yield f"{method} {route.path}", route
