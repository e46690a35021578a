"""The long matrices: every test marked ``long``, one process each, resumable; the results are kept in docs/test-report.md."""
