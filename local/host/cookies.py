"""Renders the cookies of an answer as ``Set-Cookie`` values, as ASP.NET Core's cookie collection writes them."""

from email.utils import formatdate
from urllib.parse import quote

from local.host import protos

_SAME_SITE = {1: "lax", 2: "strict", 3: "none"}


def set_cookie(cookie: protos.RpcHttpCookie) -> str:
    """One header value. The cookie's value is percent-encoded (unreserved characters stay), as .NET does."""
    parts = [f"{cookie.name}={quote(cookie.value, safe='-_.~')}"]
    if cookie.expires is not None and isinstance(cookie.expires.value, protos.Timestamp):
        parts.append(f"expires={formatdate(cookie.expires.value.seconds, usegmt=True)}")
    if cookie.max_age is not None:
        parts.append(f"max-age={int(cookie.max_age.value)}")
    if cookie.domain is not None and cookie.domain.value:
        parts.append(f"domain={cookie.domain.value}")
    if cookie.path is not None and cookie.path.value:
        parts.append(f"path={cookie.path.value}")
    if cookie.secure is not None and cookie.secure.value:
        parts.append("secure")
    if cookie.same_site in _SAME_SITE:
        parts.append(f"samesite={_SAME_SITE[cookie.same_site]}")
    if cookie.http_only is not None and cookie.http_only.value:
        parts.append("httponly")
    return "; ".join(parts)
