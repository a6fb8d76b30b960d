"""One JobCluster, as the Kubernetes API shows it: connection, workflow and secret calls, the watch, the meaning of answers.

This room knows no database and no job. It is asynchronous throughout and works on plain dicts and bytes: on a prototype the
official client's model layer cost more CPU than everything else of a create together (A3).
"""
