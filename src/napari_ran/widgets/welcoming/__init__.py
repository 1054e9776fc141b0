"""The parts of the Welcome widget: the steps of the tour, and what each does with the real widgets."""
