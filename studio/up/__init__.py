"""`make up`: everything on one machine, in the foreground, from nothing to a scored request."""
