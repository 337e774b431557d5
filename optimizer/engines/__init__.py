"""One module an engine, found by its file name. No I/O is done here."""
