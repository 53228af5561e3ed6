"""The edges that tell people of trouble: a webhook, e-mail."""
