"""A FastAPI app without a word about limits: docs/fastapi.md puts the proxy in front of it."""

from fastapi import FastAPI, Request

app = FastAPI()


@app.get("/items/{number}")
def item(number: int, request: Request) -> dict[str, object]:
    """Return an item, and the address of the caller as the app sees it."""
    return {"item": number, "client": request.client.host if request.client else None}


@app.post("/login")
def login() -> dict[str, bool]:
    """Let everybody in."""
    return {"ok": True}
