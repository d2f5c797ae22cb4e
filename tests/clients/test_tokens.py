"""Callers' tokens made by PyJWT, with keys written by another program than the one that reads them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from backend import Script
from conftest import StartBackend, StartGateway
from gateway import event_route
from processes import LIMIT

SECRET = "a secret that is long enough for SHA-256"
OK = Script([b"ok"], content_type="text/plain", framing="length")


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "7", "iss": "https://accounts.test", "aud": ["deltaway"], "exp": int(time.time()) + 60, **more}


def status(url: str, token: str) -> tuple[int, str]:
    """The status, and what is said of the token."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=LIMIT) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers["www-authenticate"]


def route(url: str, keys: str) -> str:
    asked = 'issuer = "https://accounts.test"\naudience = "deltaway"\nleeway = "0s"'
    return event_route(url, f'allow = ["accounts"]\n\n[jwt.accounts]\n{keys}\n{asked}\n')


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256"])
def test_a_token_of_each_algorithm(
    algorithm: str,
    rsa_key: rsa.RSAPrivateKey,
    ec_key: ec.EllipticCurvePrivateKey,
    backend: StartBackend,
    gateway: StartGateway,
    tmp_path: Path,
) -> None:
    key = {"HS256": SECRET, "RS256": rsa_key, "ES256": ec_key}[algorithm]
    if isinstance(key, str):
        keys = 'secret = "${SECRET}"'
    else:
        (tmp_path / "key.pem").write_text(pem(key))
        keys = 'public_key = "key.pem"'
    source = backend(OK)
    running = gateway(route(source.url, keys), env={"SECRET": SECRET})

    good = jwt.encode(claims(), key, algorithm)
    assert status(running.url, good) == (200, "")
    assert source.exchange().header("authorization") is None
    for changed, words in [
        (claims(exp=int(time.time()) - 1), "it has expired"),
        (claims(nbf=int(time.time()) + 60), "it is not valid yet"),
        (claims(iss="https://evil.test"), "it is of another issuer"),
        (claims(aud="others"), "another audience"),
    ]:
        code, said = status(running.url, jwt.encode(changed, key, algorithm))
        assert code == 401 and words in said, said
    code, said = status(running.url, jwt.encode(claims(), None, "none"))
    assert code == 401 and "its algorithm" in said, said


def test_a_set_of_keys(
    rsa_key: rsa.RSAPrivateKey,
    ec_key: ec.EllipticCurvePrivateKey,
    backend: StartBackend,
    gateway: StartGateway,
    tmp_path: Path,
) -> None:
    first = {**json.loads(RSAAlgorithm.to_jwk(rsa_key.public_key())), "kid": "first", "use": "sig"}
    second = {**json.loads(ECAlgorithm.to_jwk(ec_key.public_key())), "kid": "second"}
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [first, second]}))
    running = gateway(route(backend(OK).url, 'jwks = "keys.json"'))

    for key, algorithm, kid, code in [
        (rsa_key, "RS256", "first", 200),
        (ec_key, "ES256", "second", 200),
        (ec_key, "ES256", None, 200),
        (ec_key, "ES256", "first", 401),
        (ec_key, "ES256", "third", 401),
        (rsa_key, "RS512", "first", 401),
        (rsa_key, "PS256", "first", 401),
    ]:
        headers = {"kid": kid} if kid else {}
        token = jwt.encode(claims(), key, algorithm, headers=headers)
        assert status(running.url, token)[0] == code, (algorithm, kid)
