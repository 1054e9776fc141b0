"""The pages, pictures and workers behind the Inspect widget."""
