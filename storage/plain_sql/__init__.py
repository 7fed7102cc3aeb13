"""SQL that somebody else wrote: what may be asked of the views, read by PostgreSQL's grammar, run as its own role."""
