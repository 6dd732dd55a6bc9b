"""Certificates of unlearning: a run's record as a page, a PDF and signed JSON, and their verification."""
