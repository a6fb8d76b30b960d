"""An API server that launches together with a row of its own, in one transaction: FastAPI and SQLAlchemy.

    uvicorn fastapi_server:app

It needs ARGOSY_DATABASE_URL, and a database where argosy's schema is (`argosy db upgrade`). Workers and trackers run elsewhere.
"""

from typing import Annotated

from fastapi import Body, FastAPI, HTTPException
from sqlalchemy import text

from argosy.client import Client, Launched
from argosy.errors import ArgosyError

client = Client()
app = FastAPI()

with client.engine.begin() as connection:
    connection.execute(
        text("CREATE TABLE IF NOT EXISTS orders (gid uuid PRIMARY KEY, note text NOT NULL CHECK (note <> ''))")
    )


@app.post("/orders", status_code=201)
def order(media_ids: Annotated[list[int], Body()], note: Annotated[str, Body()]) -> Launched:
    """Note an order and launch its jobs: both, or neither."""
    try:
        with client.engine.begin() as connection:
            launched = client.launch("hello", project=1, user=7, media_ids=media_ids, connection=connection)
            connection.execute(text("INSERT INTO orders VALUES (:gid, :note)"), {"gid": launched.gid, "note": note})
    except ArgosyError as error:
        raise HTTPException(400, str(error)) from error
    return launched


@app.get("/orders/{gid}")
def progress(gid: str) -> dict[str, int]:
    """How many of an order's jobs have which status."""
    (launch,) = client.launches(gid=gid)
    return launch.counts
