"""State of a connection: Table Storage repositories, settings, secrets, lease."""
