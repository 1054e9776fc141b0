"""Damage made on purpose: what the tests in this folder and ``scripts/faults.py`` do to files, disks and processes."""
