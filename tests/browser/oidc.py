"""A login provider of a few lines: OpenID Connect as far as a login needs it, on this machine, for whoever is named."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlparse

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_SECRET = "client-secret-that-must-not-leak"
ACCESS_TOKEN = "access-token-that-must-not-leak"


class Provider:
    """Logs everybody in as `email`, without asking."""

    def __init__(self) -> None:
        self.email = "ada@example.org"
        self.seen: list[str] = []
        self._key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
        self._nonces: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Lets go of the port."""
        self._server.shutdown()
        self._server.server_close()

    def secrets(self, redirect_uri: str) -> str:
        """The text of the app's secrets.toml."""
        return (
            f'[auth]\nredirect_uri = "{redirect_uri}"\ncookie_secret = "cookie-secret-that-must-not-leak"\n'
            f'client_id = "delift"\nclient_secret = "{CLIENT_SECRET}"\n'
            f'server_metadata_url = "{self.url}/.well-known/openid-configuration"\n'
        )

    def answer(self, path: str, body: str) -> dict[str, object] | str:
        """What a request gets: a document, or an address to go to."""
        parsed = urlparse(path)
        self.seen.append(parsed.path)
        asked = {name: values[0] for name, values in parse_qs(parsed.query or body).items()}
        if parsed.path == "/authorize":
            code = f"code-{len(self._nonces)}"
            self._nonces[code] = asked["nonce"]
            return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"
        if parsed.path == "/token":
            return {
                "access_token": ACCESS_TOKEN,
                "token_type": "Bearer",
                "expires_in": 600,
                "id_token": self._id_token(self._nonces.pop(asked["code"])),
            }
        if parsed.path == "/jwks":
            return {"keys": [self._key.as_dict(private=False)]}
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": "delift",
            "sub": self.email,
            "email": self.email,
            "email_verified": True,
            "nonce": nonce,
            "iat": now,
            "exp": now + 600,
        }
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, self._key)


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

        def _answer(self, body: str) -> None:
            found = provider.answer(self.path, body)
            if isinstance(found, str):
                self.send_response(302)
                self.send_header("Location", found)
                self.end_headers()
                return
            document = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(document)))
            self.end_headers()
            self.wfile.write(document)

    return Handler
