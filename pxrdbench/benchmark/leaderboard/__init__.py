"""Submissions, ranks and pages."""
