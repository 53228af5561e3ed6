"""Who may receive what: consent, policy, identity, and the one function release()."""
