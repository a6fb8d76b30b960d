"""How often a long-running process looks for garbage.

Python looks whenever 700 more objects were made than freed, and every so often at all there are. Decoding a page of a list makes a hundred
thousand at once, and none of them is garbage: it took twice as long for that (tests/benchmarks/README.md, `track`).
"""

import gc


def collect_rarely() -> None:
    """Call it after imports: objects that were loaded so far are never scanned again."""
    gc.freeze()
    gc.set_threshold(50_000)
