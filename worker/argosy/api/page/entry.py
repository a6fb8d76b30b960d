"""The way in: sign in with a token, sign out, and the files that the page loads."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from argosy.api.callers import Anonymous
from argosy.api.page.rendering import STATIC, VERSION, plain
from argosy.api.page.visits import COOKIE, Form, Visited, redirect
from argosy.api.routing import admit
from argosy.errors import NotFound

router = APIRouter()


async def root(_: Request) -> Response:
    """`/ui` without a slash."""
    return RedirectResponse("ui/launches", 303)


_KINDS = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}


@router.get("/", operation_id="PageHome")
def home(visit: Visited) -> Response:
    """The first page."""
    return redirect(visit.request, "launches")


@router.get("/sign-in", operation_id="PageSignIn")
def sign_in(request: Request, next: str = "") -> Response:
    """The form for a token."""
    return plain(request, "sign_in.html", auth=request.app.state.gateway.settings.auth, next=next, message="")


@router.post("/sign-in", operation_id="PageSignedIn")
def signed_in(request: Request, form: Form) -> Response:
    """Try a token, and keep it in the browser if it is known."""
    gateway, token, wanted = request.app.state.gateway, form.get("token", "").strip(), form.get("next", "")
    try:
        if not token or not token.isascii() or not token.isprintable() or " " in token or ";" in token:
            raise Anonymous("paste a token: one word, without blanks")
        header = (b"authorization", b"Token " + token.encode())
        admit(gateway, Request({**request.scope, "headers": [header]}))
    except Anonymous as error:
        return plain(request, "sign_in.html", 401, auth=gateway.settings.auth, next=wanted, message=str(error))
    answer = redirect(request, wanted or "launches")
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, token, path=None, httponly=True, samesite="strict", secure=secure)
    return answer


@router.post("/sign-out", operation_id="PageSignOut")
def sign_out(visit: Visited) -> Response:
    """Forget the token of this browser."""
    answer = redirect(visit.request, "sign-in")
    answer.delete_cookie(COOKIE, path=None)  # type: ignore[arg-type]
    return answer


@router.get("/static/{name}", operation_id="PageFile")
def file(request: Request, name: str, v: str = "") -> Response:
    """A file that the page loads."""
    if (content := STATIC.get(name)) is None:
        raise NotFound(f"there is no file {name[:100]}")
    kept = "public, max-age=31536000, immutable" if v == VERSION else "no-cache"
    return Response(content, media_type=_KINDS[name.rpartition(".")[2]], headers={"Cache-Control": kept})
