"""The parts of the Apply widget."""
