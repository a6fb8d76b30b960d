"""The HTTP gateway: the job half of the REST reference, so that the platform's published clients work against argosy unchanged (P10).

It is a caller of `argosy.client` and reads rows through `store`, like any other API server. It asks no cluster. Its routes are plain
functions that Starlette runs in threads, because the store is synchronous; there are as many threads as connections to the database.
"""
