"""The spool: requests that were acknowledged while PostgreSQL was away, on disk until they are in it.

1. ``format``    PURE: the bytes of a segment: header, frames with checksums, seal; reading past damage.
2. ``disk``      the system calls that it needs, as a seam; the real ones.
3. ``segments``  the append-only log of one directory: append (fsync before it returns), read, remove.
4. ``spool``     many requests, one fsync; who owns the directory; what is at rest.
5. ``drain``     in order, back into the same way that live requests take.
"""
