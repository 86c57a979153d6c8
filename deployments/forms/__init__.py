"""Forms: what a browser sent, as the mapping the specs read; and the specs' errors, back at their fields.

The name of an HTML field is the path of the setting ("scale_settings.max_instances"), so a form becomes the same
mapping as a YAML file or a REST body, and an error finds its field without a table in between.
"""
