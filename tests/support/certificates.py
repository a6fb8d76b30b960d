"""The authority of a cluster that nobody asks."""

import trustme

PEM = trustme.CA().cert_pem.bytes().decode()
"""Its certificate, as a cluster is registered with it."""
