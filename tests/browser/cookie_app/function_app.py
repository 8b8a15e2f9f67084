"""An app that sets cookies as a sign-in does and tells which ones came back."""

import json

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

COOKIES = (
    "__Host-session=lax; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=28800",
    "__Host-state=none; Path=/; Secure; HttpOnly; SameSite=None; Max-Age=600",
    "__Host-strict=strict; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=600",
)
TOLD = ("origin", "referer", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "content-type")


def _sets(response: func.HttpResponse, *cookies: str) -> func.HttpResponse:
    for cookie in cookies:
        response.headers.add("Set-Cookie", cookie)
    return response


def _seen(req: func.HttpRequest) -> dict[str, object]:
    """What the browser sent along."""
    cookies = dict(one.strip().partition("=")[::2] for one in req.headers.get("cookie", "").split(";") if one)
    headers = {name: req.headers[name] for name in TOLD if name in req.headers}
    return {"method": req.method, "cookies": cookies, "headers": headers, "form": req.get_body().decode()}


def _page(document: object, status: int = 200) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(document), mimetype="application/json", status_code=status)


@app.route(route="console/{*path}", methods=["GET", "POST"])
async def console(req: func.HttpRequest) -> func.HttpResponse:
    if req.method == "POST":
        return func.HttpResponse(status_code=303, headers={"Location": "/console/after-post"})
    return _page({"path": req.route_params.get("path"), **_seen(req)})


@app.route(route="set", methods=["GET"])
async def set_cookies(req: func.HttpRequest) -> func.HttpResponse:
    return _sets(_page(_seen(req)), *COOKIES)


@app.route(route="refused", methods=["GET"])
async def refused(req: func.HttpRequest) -> func.HttpResponse:
    """Cookies that break the rules of their prefix or of SameSite=None."""
    return _sets(
        _page({}),
        "__Host-insecure=1; Path=/; SameSite=Lax",
        "__Host-elsewhere=1; Path=/console; Secure; SameSite=Lax",
        "none-insecure=1; Path=/; SameSite=None",
    )


@app.route(route="start", methods=["GET"])
async def start(req: func.HttpRequest) -> func.HttpResponse:
    """Off to the other site, with cookies set on the way."""
    return _sets(func.HttpResponse(status_code=303, headers={"Location": req.params["to"]}), *COOKIES)


@app.route(route="connect/callback", methods=["POST"])
async def callback(req: func.HttpRequest) -> func.HttpResponse:
    """Puts what came into a cookie of its own, gives a new session, and goes on with a GET."""
    told = json.dumps(_seen(req)).encode().hex()
    return _sets(
        func.HttpResponse(status_code=303, headers={"Location": "/console/"}),
        f"callback-saw={told}; Path=/; Secure; HttpOnly; SameSite=Lax",
        "__Host-session=renewed; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=28800",
        "__Host-state=; Path=/; Secure; HttpOnly; SameSite=None; Max-Age=0",
    )


@app.route(route="ends", methods=["POST"])
async def ends(req: func.HttpRequest) -> func.HttpResponse:
    """Answers a post without a redirect."""
    return _page(_seen(req))
