"""Signing in with Microsoft: administrators of the console, and the authorization account of a connection."""
