"""The definitions of other people's operators, so that a real apiserver judges the objects that the chart makes for them.

They are read out of the Go modules of KEDA, the Prometheus operator and the Gateway API. Nothing of these is built, nobody runs them.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from clusters.local.guard import Guard
from clusters.local.toolchain import HERE, Go, cache_directory

_PLACES = {
    "github.com/kedacore/keda/v2": ("config/crd/bases", ("keda.sh_scaledobjects", "keda.sh_triggerauthentications")),
    "github.com/prometheus-operator/prometheus-operator": (
        "example/prometheus-operator-crd",
        tuple(f"monitoring.coreos.com_{kind}" for kind in ("podmonitors", "prometheusrules", "servicemonitors")),
    ),
    "sigs.k8s.io/gateway-api": ("config/crd/standard", ("gateway.networking.k8s.io_httproutes",)),
}
"""By module, which of its files are wanted."""


def definitions(progress: Callable[[str], None]) -> list[Path]:
    """Fetch the modules, if Go has not got them yet, and say where their definitions are.

    Args:
        progress: Takes one line for a person.

    Returns:
        One YAML file for each definition.

    Raises:
        BuildError: Go could not be had, or a module could not be fetched.
    """
    cache_directory().mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="operators-", dir=cache_directory()))
    with Guard(work) as guard:
        go = Go(guard, work, progress)
        found = []
        for project, (place, names) in _PLACES.items():
            fetched = json.loads(go.run(HERE / "operators", project, "mod", "download", "-json", project))
            found += [Path(fetched["Dir"]) / place / f"{name}.yaml" for name in names]
    return found
