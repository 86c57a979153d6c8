"""HAProxy: its configuration, the files it starts from, its admin socket and its process."""
