"""Ten million events to try the ops desk on: a seeding command (seed) and a measuring one (desk)."""
