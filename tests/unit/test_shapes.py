"""What the client takes by keyword is what the specifications say."""

from typing import Any, get_type_hints

import orjson
import pytest
from pydantic import BaseModel

from argosy.cli.schemas import launch_schema
from argosy.shapes.clusters import ClusterFields, ClusterSpec
from argosy.shapes.given import AlgorithmFields, AlgorithmSpec
from argosy.shapes.projects import ProjectFields, ProjectSpec
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("fields", "spec"), [(AlgorithmFields, AlgorithmSpec), (ClusterFields, ClusterSpec), (ProjectFields, ProjectSpec)]
)
def test_the_keywords_are_the_fields(fields: Any, spec: type[BaseModel]) -> None:
    assert get_type_hints(fields) == {name: get_type_hints(spec)[name] for name in spec.model_fields}


def test_the_schema_of_the_launch_message_is_the_one_in_the_repository() -> None:
    """After a change that is meant: argosy schema launch > worker/docs/launch.schema.json."""
    text = (ROOT / "worker/docs/launch.schema.json").read_bytes()
    assert orjson.loads(text) == orjson.loads(orjson.dumps(launch_schema()))
    assert orjson.loads(text)["properties"]["version"]["const"] == 1
