"""Charts: measurements and decisions in, Plotly figures out. Pure: no database, no clock."""
