"""What the client takes by keyword is what the specifications say."""

from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel

from argosy.shapes.given import AlgorithmFields, AlgorithmSpec, ClusterFields, ClusterSpec, ProjectFields, ProjectSpec


@pytest.mark.parametrize(
    ("fields", "spec"), [(AlgorithmFields, AlgorithmSpec), (ClusterFields, ClusterSpec), (ProjectFields, ProjectSpec)]
)
def test_the_keywords_are_the_fields(fields: Any, spec: type[BaseModel]) -> None:
    assert get_type_hints(fields) == {name: get_type_hints(spec)[name] for name in spec.model_fields}
