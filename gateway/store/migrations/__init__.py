"""The migrations, oldest first; each stands alone and never imports the tables as they are now."""
