"""What can go wrong while the local cloud is being started, as one type that every launcher turns into a sentence."""


class LocalCloudError(Exception):
    """A part of the local cloud cannot start or has died; the message says why and what to do."""
