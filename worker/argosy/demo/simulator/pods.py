"""What a simulated pod will do, decided when it starts."""

from dataclasses import dataclass
from typing import Any

from argosy.demo.simulator.templates import NotSimulated, text_of
from argosy.demo.wishes import Wishes

Json = dict[str, Any]


@dataclass(frozen=True)
class Play:
    """What a pod will do.

    Args:
        exit_code: Exit code of its main container.
        seconds: How long it runs.
        outputs: The outputs that its wait container reports.
    """

    exit_code: int
    seconds: float
    outputs: Json


def play_of(template: Json, attempt: int, default_seconds: float) -> Play:
    """What the pod of a container or script template does.

    Args:
        template: With every parameter filled in.
        attempt: 0 for the first of its retries.
        default_seconds: How long it runs if the template does not say.

    Raises:
        NotSimulated: It asks for something that is not a number.
    """
    main = template.get("container") or template["script"]
    environment = {item["name"]: text_of(item.get("value", "")) for item in main.get("env") or []}
    wishes = Wishes(template, template.get("metadata", {}).get("annotations") or {}, environment)
    parameters = wishes.parameters()
    outputs: Json = {"parameters": parameters} if parameters else {}
    if "script" in template:
        outputs["result"] = wishes.result()
    try:
        return Play(wishes.exit_code(attempt), wishes.seconds(default_seconds), outputs)
    except ValueError as error:
        raise NotSimulated(f"template {template['name']}: {error}") from error
