"""A JobCluster in one process: enough of the Kubernetes API and of Argo's controller for demos and tests.

A demo must be ready in seconds on a machine that only has Python, and a test must be able to make a cluster of its own. What matters about
a cluster is how it answers (a taken name, a version that is too old, a precondition that fails) and how a workflow's nodes look, so both
are exactly as in a real one: one conformance suite, tests/cluster/, runs on this and on a real control plane, and where they differ, this
is wrong. A workflow that needs something that is not simulated ends in phase Error, with message `not simulated: …`: a simulator that
guesses would hide faults.
"""

from argosy.demo.simulator.process import SimulatedCluster, SimulatedConnection

__all__ = ["SimulatedCluster", "SimulatedConnection"]
