"""The admin API of one router pod: health, metrics, what happened, what is in force, and calling a model."""
