"""Parts of the Train widget."""
