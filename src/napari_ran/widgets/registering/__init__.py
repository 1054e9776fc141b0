"""The parts of the Register widget: its pages, its work in the background, and the layers of its result."""
