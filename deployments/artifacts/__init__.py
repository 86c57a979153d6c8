"""Content-addressed files: packed once by the studio, pushed once into each cluster's cache."""
