"""What can stand in the way of signing in, as errors of the gateway to Microsoft that a caller may meet.

::

    graph.errors.GraphError
    ├── graph.errors.Retry
    │   └── graph.errors.Unavailable  Entra cannot be reached or fails: try again
    └── graph.errors.Stop             an administrator is needed
        ├── NotSetUp                  what signing in needs is not configured yet
        ├── SignInNeeded              an account of the connection has to sign in again
        └── graph.errors.CredentialsRejected

No text here holds a token, a code or a secret, and none quotes what Entra or a browser sent, save an AADSTS number.
"""

from graph.errors import Stop


class NotSetUp(Stop):
    """An address, an id or a credential is missing, without which nobody can sign in with Microsoft."""

    code = "sign_in_not_set_up"


class SignInNeeded(Stop):
    """The account is not there, or Entra does not take its refresh token any more."""

    code = "sign_in_needed"
    action = "Sign in with Microsoft again on the page Connect."


class GrantRefused(Exception):
    """The token endpoint does not give tokens for a code or a refresh token. ``number`` is the one after AADSTS, 0 for
    none; ``error`` is the OAuth error."""

    def __init__(self, error: str, number: int) -> None:
        super().__init__(f"Entra refuses the grant: {error}" + (f" (AADSTS{number})" if number else ""))
        self.error = error
        self.number = number


class InvalidToken(Exception):
    """An ID token that must not be believed. The text says which check it failed and quotes nothing of it."""


class ForeignTenant(InvalidToken):
    """A genuine ID token, of another tenant than the connection's."""
