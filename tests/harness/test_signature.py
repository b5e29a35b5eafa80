"""Signatures: who stands for a bundle."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from harness import bundle, cli
from harness.errors import InputError
from harness.signature import SIGNATURE, sign, unsigned


def pem(folder, name, private):
    """Files of a key pair: (private, public)."""
    paths = folder / f"{name}.pem", folder / f"{name}.pub"
    paths[0].write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    paths[1].write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return paths


@pytest.fixture
def keys(tmp_path):
    return pem(tmp_path, "own", ed25519.Ed25519PrivateKey.generate())


def test_a_signed_bundle_is_its_signers_and_nobody_elses(copy, keys, tmp_path, capsys):
    private, public = map(str, keys)
    assert cli.main(["verify", str(copy), "--signed-by", public]) == 1
    assert "nobody stands for this bundle" in capsys.readouterr().out
    assert cli.main(["sign", str(copy), "--key", private]) == 0
    assert cli.main(["verify", str(copy)]) == 0
    assert cli.main(["verify", str(copy), "--signed-by", public]) == 0
    gate = ["gate", str(copy), "--baseline", str(copy), "--signed-by"]
    other = pem(tmp_path, "other", ed25519.Ed25519PrivateKey.generate())[1]
    capsys.readouterr()
    assert cli.main([*gate, str(other)]) == 1
    assert "not the signature of" in capsys.readouterr().err
    assert cli.main(["verify", str(copy), "--signed-by", str(other)]) == 1


def test_an_edited_manifest_and_an_edited_signature_are_not_signed(copy, keys):
    sign(copy, keys[0])
    assert unsigned(copy, keys[1]) == ""
    manifest = bundle.read_manifest(copy)
    bundle.write_json(copy / "manifest.json", {**manifest, "name": "another"})
    assert "not the signature" in unsigned(copy, keys[1])
    (copy / SIGNATURE).write_bytes(b"not base64 \xff")
    assert "not the signature" in unsigned(copy, keys[1])


def test_an_edited_bundle_is_not_signed_at_all(copy, keys):
    (copy / "claims.yaml").write_text("id: mine")
    with pytest.raises(InputError, match="is not as"):
        sign(copy, keys[0])
    assert not (copy / SIGNATURE).exists()


def test_what_is_no_key_is_refused_with_how_to_make_one(copy, keys, tmp_path):
    (tmp_path / "text.pem").write_text("no key")
    curve = pem(tmp_path, "curve", ec.generate_private_key(ec.SECP256R1()))
    for wrong in (tmp_path / "none.pem", tmp_path / "text.pem", curve[0], keys[1]):
        with pytest.raises(InputError, match="openssl genpkey -algorithm ed25519"):
            sign(copy, wrong)
    sign(copy, keys[0])
    with pytest.raises(InputError, match="is no public key in PEM"):
        unsigned(copy, keys[0])
