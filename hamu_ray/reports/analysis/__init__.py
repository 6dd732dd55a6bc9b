"""What can be compared in a report, and how."""
