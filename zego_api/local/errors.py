"""What goes wrong while setting the service up on one machine."""


class LocalError(Exception):
    """Its text is one clear statement for the person at the terminal, with what to do about it."""
