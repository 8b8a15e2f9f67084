"""What the store can answer besides data; the Azure libraries' own errors never leave this room.

::

    StoreError
    ├── StoreUnavailable   storage or Key Vault cannot be reached or is failing: try again later
    ├── AccessDenied       our identity may not do this: an administrator has to grant it
    ├── Changed            somebody else wrote first (ETag): read again, decide again
    ├── AlreadyExists      the record to be created is there
    ├── SecretMissing      Key Vault holds no secret of that name
    ├── LeaseLost          another run took over; write nothing more
    ├── AskedToStop        somebody wants the lease's holder to end its work; write nothing more
    └── InvalidRecord      a record breaks a limit of Table Storage or cannot be read back
        └── Misconfigured  an application setting of the deployment is missing or wrong
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError


class StoreError(Exception):
    """Base of everything the store raises."""


class StoreUnavailable(StoreError):
    """Storage or Key Vault did not answer or failed: try again later."""


class AccessDenied(StoreError):
    """Our identity lacks a role on the storage account or the Key Vault."""


class Changed(StoreError):
    """The record changed since it was read."""


class AlreadyExists(StoreError):
    """A record with this key exists."""


class SecretMissing(StoreError):
    """Key Vault has no (enabled) secret of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Key Vault holds no secret named {name!r}.")
        self.name = name


class LeaseLost(StoreError):
    """The lease ran out or was taken over."""


class AskedToStop(StoreError):
    """An administrator changed what the holder of the lease works on: it ends without another write."""


class InvalidRecord(StoreError):
    """A key or a value that Table Storage does not take, or a stored value that does not decode."""


class Misconfigured(InvalidRecord, ValueError):
    """An application setting of the deployment is missing or wrong."""


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn azure-core's errors into ours. ``what`` names the place ("the table links", "Key Vault") for the reader."""
    from azure.core import exceptions as azure

    try:
        yield
    except azure.ResourceExistsError as error:
        raise AlreadyExists(f"{what}: the record exists already") from error
    except azure.ResourceModifiedError as error:
        raise Changed(f"{what}: the record changed meanwhile") from error
    except azure.ClientAuthenticationError as error:
        raise AccessDenied(_denied(what, error)) from error
    except azure.HttpResponseError as error:
        raise _by_status(what, error) from error
    except (azure.AzureError, TimeoutError) as error:
        # The library's text is left out: it can carry URLs with signatures.
        raise StoreUnavailable(f"{what} cannot be reached ({type(error).__name__})") from error


def _by_status(what: str, error: "HttpResponseError") -> StoreError:
    status = error.status_code or 0
    if status == 409:
        return AlreadyExists(f"{what}: the record exists already")  # inside a transaction it has no class of its own
    if status in {401, 403}:
        return AccessDenied(_denied(what, error))
    if status == 412:
        return Changed(f"{what}: the record changed meanwhile")
    if status in {0, 408, 429} or status >= 500 or status < 400:
        return StoreUnavailable(f"{what} fails with HTTP {status}")
    return InvalidRecord(f"{what} refused the request with HTTP {status} ({getattr(error, 'error_code', None)})")


def _denied(what: str, error: Exception) -> str:
    return (
        f"{what} refuses our identity ({type(error).__name__}). Check the role assignments of the function app's "
        "managed identity."
    )
