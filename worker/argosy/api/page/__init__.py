"""The page: what people look at, under `/ui` of the gateway.

It reads the database only, through the same client as every caller; no page asks a cluster. Pages are made on the server and are readable
without JavaScript. With it they refresh themselves: a stream tells that something changed, and the page fetches itself again and takes over
only what differs. All links are relative, so that the page works under any path behind a proxy without a setting.
"""
