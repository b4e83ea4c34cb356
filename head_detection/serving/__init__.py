"""Head detection over HTTP: requests share batches, within limits; a web page for people."""
