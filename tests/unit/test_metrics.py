"""What /metrics shows."""

import os
import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import urllib.request
from argosy import metrics
from argosy.processes import probes
for name in ("gone", "here"):
    metrics.ACTIVE.labels(name).set(5)
    metrics.CAPACITY.labels(name).set(7)
metrics.forget("gone")
port = probes.serve("127.0.0.1", 0, list, list)
print(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20).read().decode())
"""


def test_a_removed_cluster_is_not_in_the_metrics_for_ever(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    shown = subprocess.run(
        [sys.executable, "-c", _SCRIPT], env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert 'argosy_cluster_active{cluster="here"} 5.0' in shown
    assert "gone" not in shown
