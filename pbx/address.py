"""Where the PBX is and how its certificate is verified. Verification is never switched off."""

import ssl

import msgspec


class Address(msgspec.Struct, frozen=True):
    """The name of a PBX (with or without a port) and the certificates that vouch for it."""

    fqdn: str
    """``pbx.example.com`` is reached on 443, as the vendor's remote-access names are; appliances listen on 8088, to
    be written as ``pbx.example.com:8088``."""
    ca_certificate: str | None = None
    """PEM of a private authority, or of a self-signed appliance itself."""

    @property
    def base_url(self) -> str:
        return f"https://{self.fqdn}/openapi/v1.0"

    def tls(self) -> ssl.SSLContext:
        """The context that verifies the chain and the name, also against what ``SSL_CERT_FILE`` names."""
        context = ssl.create_default_context()
        if self.ca_certificate:
            context.load_verify_locations(cadata=self.ca_certificate)
            # Certificates that appliances make for themselves lack extensions that Python's strict mode asks for since
            # 3.13. The chain and the name are verified all the same.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context
