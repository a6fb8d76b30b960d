"""An API server that launches together with a row of its own, in one transaction: Django.

    uvicorn django_server:application

It needs ARGOSY_DATABASE_URL, and a database where argosy's schema is (`argosy db upgrade`). Workers and trackers run elsewhere.
"""

import json
import os

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path
from sqlalchemy import make_url

address = make_url(os.environ["ARGOSY_DATABASE_URL"])
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": address.database,
            "USER": address.username,
            "PASSWORD": address.password,
            "HOST": address.host or address.query.get("host", ""),
            "PORT": address.port or address.query.get("port", ""),
        }
    },
)
django.setup()

from argosy.client import Client  # noqa: E402
from argosy.errors import ArgosyError  # noqa: E402

client = Client()


def orders(request: HttpRequest) -> JsonResponse:
    """Note an order and launch its jobs: both, or neither."""
    body = json.loads(request.body)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS orders (gid uuid PRIMARY KEY, note text NOT NULL CHECK (note <> ''))"
            )
            launched = client.launch("hello", project=1, user=7, media_ids=body["media_ids"], connection=connection)
            cursor.execute("INSERT INTO orders VALUES (%s, %s)", [launched.gid, body["note"]])
    except ArgosyError as error:
        return JsonResponse({"detail": str(error)}, status=400)
    return JsonResponse(launched.model_dump(mode="json"), status=201)


urlpatterns = [path("orders", orders)]
application = get_asgi_application()
