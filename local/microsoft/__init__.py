"""One https emulator of Microsoft Entra ID, Microsoft Graph, Key Vault secrets and App Service managed identity."""

from local.microsoft.emulator import MicrosoftEmulator

__all__ = ["MicrosoftEmulator"]
