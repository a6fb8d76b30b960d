"""How often Python's garbage collector runs in a long-running process.

By default it runs whenever 700 more objects were made than freed, and sometimes it scans all objects. Decoding a page of a list makes a
hundred thousand objects at once, none of them garbage, and took twice as long because of it (tests/benchmarks/README.md, `track`).
"""

import gc


def collect_rarely() -> None:
    """Run the garbage collector rarely. Call this after imports: objects that are loaded so far are never scanned again."""
    gc.freeze()
    gc.set_threshold(50_000)
