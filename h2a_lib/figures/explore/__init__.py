"""Interactive views for a live notebook; a batch run draws each one's default view instead."""
