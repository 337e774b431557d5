"""What load generators are called with and what their files mean. No I/O is done here."""
