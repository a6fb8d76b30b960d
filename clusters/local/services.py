"""Services of a node's pods: kube-proxy gives them addresses, CoreDNS their names. Without them pods reach each other by address only.

Between two ports of one bridge the kernel rewrites no answers, so every connection to a Service is made to come from the node itself
(`masqueradeAll`). The Service `kubernetes` is the gateway's, and kube-proxy is told to leave it alone.
"""

import json
import shutil

from clusters.local.node import NAME

OTHERS = "service.kubernetes.io/service-proxy-name"
"""The label of a Service that somebody else than kube-proxy serves."""


def unable() -> str:
    """Why there can be no Services here; empty where there can."""
    return "" if shutil.which("iptables") else "Services need iptables; install it"


def proxy(kubeconfig: str) -> str:
    """kube-proxy's configuration."""
    configuration = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig},
        "mode": "iptables",
        "clusterCIDR": "10.88.0.0/16",
        "hostnameOverride": NAME,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "iptables": {"masqueradeAll": True, "syncPeriod": "5s", "minSyncPeriod": "100ms"},
        # These are the whole machine's.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    return json.dumps(configuration)


def names(kubeconfig: str) -> str:
    """CoreDNS's configuration: the cluster's names, and nobody to ask for others."""
    # A name that is not there yet is asked for again soon.
    return f"""cluster.local:53 {{
    errors
    kubernetes cluster.local {{
        kubeconfig {kubeconfig}
        ttl 1
    }}
}}
"""
