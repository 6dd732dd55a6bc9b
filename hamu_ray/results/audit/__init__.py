"""The results of an audit as plain data."""
