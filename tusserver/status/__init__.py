"""How uploads get on, for people and programs: one at a time, in lists, and live."""
