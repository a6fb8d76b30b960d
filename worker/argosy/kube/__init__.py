"""One JobCluster, as the Kubernetes API shows it: connection, workflow and secret calls, the watch, the meaning of answers.

This room knows nothing of the database and of jobs. It is asynchronous throughout and works on plain dicts and bytes: in a prototype the
official client's model classes took more CPU than the rest of a create (A3).
"""
