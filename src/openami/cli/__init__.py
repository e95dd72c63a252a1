"""Floor 7: the `ami` command; everything is wired together here."""
