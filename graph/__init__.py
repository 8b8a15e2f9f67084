"""The gateway to Microsoft Graph: credentials, reads as bytes decoded by msgspec, typed errors."""
