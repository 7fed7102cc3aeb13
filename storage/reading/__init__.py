"""The read functions behind ``storage.reader``, one module a kind of question; each takes a connection."""
