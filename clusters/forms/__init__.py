"""From what was typed to what the services take, and back with what is wrong."""
