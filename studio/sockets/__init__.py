"""The two websockets: /live says what changed, /logs/<id> carries lines."""
