"""A JobCluster in one process: enough of the Kubernetes API and of Argo's controller for demos and tests.

A demo must be ready in seconds on a machine that has nothing but Python, and a test must be able to make a cluster of its own. What
is worth knowing about a cluster is how it answers (a taken name, a version that is too old, a precondition that fails) and how a
workflow's nodes look, so both follow the real ones to the letter: one conformance suite, tests/cluster/, runs over this and over the
real control plane, and where they differ, this is wrong. What it does not know ends a workflow in phase Error, message `not
simulated: …`: a simulator that guesses would hide faults.
"""

from argosy.demo.simulator.process import SimulatedCluster, SimulatedConnection

__all__ = ["SimulatedCluster", "SimulatedConnection"]
