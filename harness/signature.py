"""A bundle's signature: Ed25519 (RFC 8032) over `manifest.json`, in `manifest.sig` beside it.

The manifest has the hash of every other file, so a signature holds for the whole bundle. It says
who stands for it, which no hash does: whoever edits a bundle can hash it again.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

from harness import bundle
from harness.errors import ConfigError, InputError

__all__ = ["SIGNATURE", "sign", "unsigned"]

SIGNATURE = "manifest.sig"
MAKE_ONE = "openssl genpkey -algorithm ed25519 -out key.pem; openssl pkey -in key.pem -pubout"


def sign(run: Path, key: Path) -> Path:
    """Signs an unchanged bundle with a private key (PEM); returns the signature's file."""
    bundle.unchanged(run)
    signature = _key(key, "private").sign((run / "manifest.json").read_bytes())
    bundle.write_bytes(run / SIGNATURE, base64.b64encode(signature) + b"\n")
    return run / SIGNATURE


def unsigned(run: Path, key: Path) -> str:
    """Why a bundle is not signed by a public key (PEM); empty where it is."""
    public = _key(key, "public")
    if not (run / SIGNATURE).is_file():
        return f"{SIGNATURE}: missing, so nobody stands for this bundle"
    from cryptography.exceptions import InvalidSignature

    try:
        signature = base64.b64decode((run / SIGNATURE).read_bytes().strip(), validate=True)
        public.verify(signature, (run / "manifest.json").read_bytes())
    except (InvalidSignature, binascii.Error):
        return f"{SIGNATURE}: not the signature of {key} over manifest.json"
    return ""


def _key(path: Path, kind: str) -> Any:
    """An Ed25519 key of a PEM file. Raises InputError where it is none."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ConfigError("Signatures need the extra `sign`: uv pip install -e .[sign]") from error
    try:
        text = path.read_bytes()
        if kind == "private":
            key: Any = serialization.load_pem_private_key(text, password=None)
        else:
            key = serialization.load_pem_public_key(text)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{path} is no {kind} key in PEM ({type(error).__name__}). Make a pair: {MAKE_ONE}"
        ) from None
    if not isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        raise InputError(f"{path} is no Ed25519 key. Make a pair: {MAKE_ONE}")
    return key
