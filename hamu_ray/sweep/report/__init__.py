"""A page that says what sweeps found: read back from MLflow, drawn as one HTML file that needs no network."""
