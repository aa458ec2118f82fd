"""From files to arrays: labels, images, the cache, and synthetic hands."""
