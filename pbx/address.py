"""Where the PBX is and how its certificate is verified. Verification is never switched off."""

import re
import ssl

import msgspec

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL | re.ASCII)


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
        """The context that verifies the chain and the name, also against what ``SSL_CERT_FILE`` names.

        ``ssl.SSLError`` when ``ca_certificate`` holds no certificate.
        """
        context = ssl.create_default_context()
        if self.ca_certificate:
            # The blocks alone: tools write names around them, and Python takes no text beyond ASCII.
            blocks = CERTIFICATE.findall(self.ca_certificate)
            if not blocks:
                raise ssl.SSLError("there is no certificate in the text")
            context.load_verify_locations(cadata="\n".join(blocks))
            # Certificates that appliances make for themselves lack extensions that Python's strict mode asks for since
            # 3.13. The chain and the name are verified all the same.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context
