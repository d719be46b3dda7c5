"""Runs in the venv of requirements.txt: the packages' own verdict on each document of a directory of attest_tool, and a Merkle proof checked by RFC 6962
as written here. Prints one line per check."""
import base64
import copy
import hashlib
import json
import pathlib
import sys

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.predicates.vsa.v1 import vsa_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
from sigstore import dsse as sigstore_dsse
from sigstore_models.bundle import v1 as bundle_models

KINDS = {"provenance": "decision.json", "vsa": "sbom.json", "svr": "sbom.json", "vulns": "sbom.json"}
MESSAGES = {"provenance": provenance_pb2.Provenance, "vsa": vsa_pb2.VerificationSummary}  # the package has no others of ours
directory = pathlib.Path(sys.argv[1])


def check(what, good):
    print(("ok    " if good else "FAIL  ") + what)


def refused(call):
    try:
        call()
    except Exception:  # noqa: BLE001 - each package has its own; whatever it says, it did not accept
        return True
    return False


def text(name):
    return (directory / name).read_text(encoding="utf-8")


def verify_dsse(envelope, key="KEY.pub"):
    """securesystemslib; the key carries the id of the signature, which it insists on."""
    signature_id = envelope["signatures"][0]["keyid"]
    public = SSlibKey(signature_id, "ecdsa", "ecdsa-sha2-nistp256", {"public": text(key)})
    parsed = Envelope.from_dict(copy.deepcopy(envelope))
    parsed.verify([public], 1)
    return parsed.payload


def verify_sigstore(document, key="KEY.pub"):
    """sigstore: its models read the bundle, its DSSE verifies (its Verifier knows certificates only)."""
    bundle = bundle_models.Bundle.from_json(document)
    envelope = sigstore_dsse.Envelope._from_json(json.dumps(json.loads(document)["dsseEnvelope"]))
    payload = sigstore_dsse._verify(load_pem_public_key(text(key).encode()), envelope)
    hint = bundle.verification_material.public_key.hint
    assert hint == json.loads(document)["dsseEnvelope"]["signatures"][0]["keyid"]
    return payload


def in_toto(name, payload, file):
    """in-toto-attestation: strict reading, its rules; the predicate by its message where it has one."""
    statement = json_format.Parse(payload, statement_pb2.Statement())
    Statement.copy_from_pb(statement).validate()
    if name in MESSAGES:
        predicate = json_format.MessageToDict(statement.predicate)
        if name == "vsa":
            # Its message knows one level and no verifier version; the specification (slsa.dev/verification_summary/v1) has a list and a map.
            assert isinstance(predicate.pop("verifiedLevels"), list) and isinstance(predicate["verifier"].pop("version"), dict)
        json_format.ParseDict(predicate, MESSAGES[name]())
    digest = hashlib.sha256((directory / file).read_bytes()).hexdigest()
    assert any(s.digest["sha256"] == digest for s in statement.subject)


def inclusion_root(leaf, index, size, path):
    """RFC 9162 §2.1.3.2."""
    node = lambda left, right: hashlib.sha256(b"\x01" + left + right).digest()  # noqa: E731
    fn, sn, r = index, size - 1, leaf
    for p in path:
        assert sn != 0
        if fn & 1 or fn == sn:
            r = node(p, r)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0
    return r


def verify_batch(document):
    """docs/forensics/provenance-attestation.md, followed by hand: the envelope by securesystemslib, the proof by RFC 9162."""
    doc = json.loads(document)
    head = json.loads(verify_dsse(doc["batch"]))
    statement = base64.b64decode(doc["statement"])
    leaf = hashlib.sha256(b"\x00" + hashlib.sha256(statement).digest()).digest()
    root = inclusion_root(leaf, doc["proof"]["index"], head["predicate"]["size"], [bytes.fromhex(h) for h in doc["proof"]["hashes"]])
    assert root.hex() == head["predicate"]["root"]
    return statement


for kind, about in KINDS.items():
    alone, member = text(f"{kind}.sigstore.json"), text(f"{kind}.batch.json")
    dsse_envelope = json.loads(alone)["dsseEnvelope"]
    check(f"securesystemslib accepts {kind}", not refused(lambda e=dsse_envelope: verify_dsse(e)))
    check(f"securesystemslib refuses {kind} by another key", refused(lambda e=dsse_envelope: verify_dsse(e, "other.pub")))
    plain = json.loads(text(f"{kind}.dsse.json"))
    check(f"securesystemslib accepts {kind} as a plain envelope", not refused(lambda e=plain: verify_dsse(e)) and verify_dsse(plain) == verify_dsse(dsse_envelope))
    check(f"securesystemslib refuses {kind} as a plain envelope by another key", refused(lambda e=plain: verify_dsse(e, "other.pub")))
    check(f"sigstore accepts {kind}", not refused(lambda d=alone: verify_sigstore(d)))
    check(f"sigstore refuses {kind} by another key", refused(lambda d=alone: verify_sigstore(d, "other.pub")))
    changed = copy.deepcopy(dsse_envelope)
    changed["payload"] = base64.b64encode(base64.b64decode(changed["payload"]).replace(b"2026", b"2027")).decode()
    check(f"securesystemslib refuses {kind} with another year in it", refused(lambda e=changed: verify_dsse(e)))
    check(f"in-toto-attestation accepts {kind}", not refused(lambda k=kind, d=dsse_envelope, f=about: in_toto(k, verify_dsse(d), f)))
    check(f"in-toto-attestation refuses {kind} for another file", refused(lambda k=kind, d=dsse_envelope, f=about: in_toto(k, verify_dsse(d), "KEY.pub")))
    check(f"the proof of {kind} in its batch holds", not refused(lambda d=member: verify_batch(d)))
    check(f"the statement in the batch is the one alone: {kind}", verify_batch(member) == verify_dsse(dsse_envelope))
    forged = json.loads(member)
    forged["statement"] = base64.b64encode(base64.b64decode(forged["statement"]).replace(b"2026", b"2027")).decode()
    check(f"the proof of a changed {kind} fails", refused(lambda f=forged: verify_batch(json.dumps(f))))
