"""What the pages of clusters show: dataclasses, built once, for the whole page and for a refreshed region alike."""
