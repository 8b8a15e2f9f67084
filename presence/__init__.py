"""Presence in Teams to presence of the extension: what is announced or polled, and what is written to the PBX."""
