"""A bundle as a dict of files, its arithmetic (formats of items, leaves, root, DSSE) written again without a line of ours, and a platform's honest bundles."""
import base64
import datetime
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "platform")]
from client import tar_of  # noqa: E402
from stella_platform import SAMPLES  # noqa: E402

SEALED = ("evidence/seal.json", "evidence/items.jsonl", "evidence/root.merkle")


def unpack(tgz):
    with tarfile.open(fileobj=io.BytesIO(tgz), mode="r:gz") as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers()}


def pack(files):
    """The same deterministic form: sorted names, no times, owners or modes of ours; one gzip member."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(files[name]), 0o644
            tar.addfile(info, io.BytesIO(files[name]))
    done = subprocess.run(["gzip", "-n", "-c"], input=out.getvalue(), capture_output=True, check=True)
    return done.stdout


def mend_lists(files):
    """What a careful forger does: the checksum lists agree with the files again."""
    data = {n for n in files if n.startswith("data/")}
    tags = [n for n in files if n not in data and n != "tagmanifest-sha256.txt"]
    line = lambda n: f"{hashlib.sha256(files[n]).hexdigest()}  {n}\n"
    if "bag-info.txt" in files:
        oxum = f"Payload-Oxum: {sum(len(files[n]) for n in data)}.{len(data)}"
        files["bag-info.txt"] = b"".join((oxum.encode() + b"\n") if x.startswith(b"Payload-Oxum") else x for x in files["bag-info.txt"].splitlines(True))
    files["manifest-sha256.txt"] = "".join(line(n) for n in sorted(data)).encode()
    files["tagmanifest-sha256.txt"] = "".join(line(n) for n in sorted(tags)).encode()
    return files


def items_of(files):
    return [json.loads(line) for line in files["evidence/items.jsonl"].splitlines()]


def jcs(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def set_items(files, items):
    files["evidence/items.jsonl"] = "".join(jcs(i) + "\n" for i in items).encode()


def commit_of(item):
    return hashlib.sha256(bytes.fromhex(item["salt"]) + jcs(item["item"]).encode()).hexdigest()


def root_of(items):
    level = [hashlib.sha256(b"\0" + bytes.fromhex(i["commit"])).digest() for i in items]
    while len(level) > 1:
        level = [hashlib.sha256(b"\1" + level[k] + level[k + 1]).digest() if k + 1 < len(level) else level[k] for k in range(0, len(level), 2)]
    return level[0].hex()


def reseal(files, items):
    """Everything but the signature made consistent: items, commitments, root, seal, lists."""
    for item in items:
        if "salt" in item:
            item["commit"] = commit_of(item)
    set_items(files, items)
    files["evidence/root.merkle"] = f"{len(items)}\n{root_of(items)}\n".encode()
    seal = json.loads(files["evidence/seal.json"])
    seal["subject"][0]["digest"]["sha256"] = hashlib.sha256(files["evidence/root.merkle"]).hexdigest()
    seal["predicate"]["tree"].update(root=root_of(items), size=len(items))
    files["evidence/seal.json"] = jcs(seal).encode()
    return files


def pae(payload):
    kind = b"application/vnd.in-toto+json"
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign(files, key, directory, keep_keyid=False):
    """Signs the seal with another key, in both envelopes."""
    with open(directory + "/pae", "wb") as f:
        f.write(pae(files["evidence/seal.json"]))
    sig = base64.b64encode(subprocess.run(["openssl", "dgst", "-sha256", "-sign", key, directory + "/pae"], capture_output=True, check=True).stdout).decode()
    envelope = json.loads(files["attest/seal.dsse.json"])
    keyid = envelope["signatures"][0]["keyid"] if keep_keyid else fingerprint(key, directory)
    envelope["payload"] = base64.b64encode(files["evidence/seal.json"]).decode()
    envelope["signatures"] = [{"keyid": keyid, "sig": sig}]
    files["attest/seal.dsse.json"] = jcs(envelope).encode()
    for name in [n for n in files if n.startswith("attest/seal.") and n.endswith(".sigstore.json")]:
        bundle = json.loads(files[name])
        bundle["dsseEnvelope"] = envelope
        bundle["verificationMaterial"]["publicKey"]["hint"] = keyid
        files[name] = jcs(bundle).encode()
    return files


def fingerprint(key, directory):
    der = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], capture_output=True, check=True).stdout
    point = der[-65:]
    blob = b"".join(len(x).to_bytes(4, "big") + x for x in (b"ecdsa-sha2-nistp256", b"nistp256", point))
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


# ── honest bundles, made through the API ─────────────────────────────────────────────────────────────────────────────
def make_bundle(client):
    assert client.post("/advisories?global=1&wait=60", tar_of(SAMPLES + "/advisories"), headers={"content-type": "application/x-tar"}).status == 201
    with open(SAMPLES + "/vex.openvex.json", "rb") as f:
        assert client.post("/vex?wait=60", f.read(), headers={"content-type": "application/json"}).status == 201
    with open(SAMPLES + "/policy.yaml", "rb") as f:
        version = client.post("/policies", f.read())["policy_version"]
    client.post(f"/policies/{version}/activate")
    with open(SAMPLES + "/sbom.cdx.json", "rb") as f:
        sbom = client.post("/sboms?wait=60", f.read())["sbom_id"]
    evaluation = client.post("/evaluations?wait=60", {"sbom_id": sbom})["evaluation_id"]
    bundle = client.post("/evidence/snapshot?wait=60", {"kind": "eval", "resource_id": evaluation, "case_id": "CASE-1"})
    assert bundle["state"] == "sealed", bundle
    return client.post(f"/evidence/{bundle['bundle_id']}/export", {"recipient": "tamper test"}).body


def other_bundles(client, evaluation):
    """Honest ones of every kind, by name: each has a chain of its own."""
    out = {}

    def take(name, bundle):
        assert bundle["state"] == "sealed", bundle
        out[name] = client.post(f"/evidence/{bundle['bundle_id']}/export", {"recipient": "tamper test"}).body
        return bundle["bundle_id"]

    snapshot = lambda **request: client.post("/evidence/snapshot?wait=60", {"case_id": "CASE-1", **request})
    with open(SAMPLES + "/sbom.cdx.json", "rb") as f:
        document = json.load(f)
    document["components"] = document["components"][:3]
    sbom = client.post("/sboms?wait=60", jcs(document).encode())["sbom_id"]
    second = client.post("/evaluations?wait=60", {"sbom_id": sbom})["evaluation_id"]
    take("of another evaluation", snapshot(kind="eval", resource_id=second))
    again = take("of the same evaluation once more", snapshot(kind="eval", resource_id=evaluation, case_id="CASE-2"))
    take("a copy with files withheld", client.post(f"/evidence/{again}/redact?wait=60", {"withhold": ["role:trace", "data/outputs/findings.ndjson"], "reason": "privacy"}))
    take("a copy with others withheld", client.post(f"/evidence/{again}/redact?wait=60", {"withhold": ["data/outputs/components.ndjson", "data/inputs/sbom/sbom.json"], "reason": "trade secret"}))
    job = client.get(f"/evaluations/{second}")["jobs"]["evaluate"]
    take("of a job", snapshot(kind="job", resource_id=job))
    export = client.post("/exports?wait=60", {"evaluation_id": evaluation, "format": "json"})["export_id"]
    take("of an export", snapshot(kind="export", resource_id=export))
    take("of an export, with the evaluation's inside", snapshot(kind="export", resource_id=export, embed_evaluation=True))
    return out


def steal_key(platform, client, tmp):
    """The first evidence key in the clear, and a directory with its public half; then another takes its place and it is called compromised."""
    os.mkdir(tmp + "/both")
    for name, wanted in (("stolen.pem", ""), ("both/old.pub", "-pubout")):
        subprocess.run(["openssl", "pkey", "-in", platform.path("keys", "evidence.pem"), "-passin", "file:" + platform.path("secrets", "key_passphrase"), *([wanted] if wanted else []), "-out", tmp + "/" + name],
                       check=True, capture_output=True)
    old = client.get("/keys/history").text.splitlines()[0]
    old_id = json.loads(base64.b64decode(json.loads(old)["event"]["payload"]))["key"]
    assert client.post("/keys", {"action": "rotate"}).status == 200
    since = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # after the rotation: what it vouched for holds
    reply = client.post("/keys", {"action": "compromise", "key_id": old_id, "since": since})
    assert reply.status == 200, reply
    shutil.copy(platform.key_path(), tmp + "/both/new.pub")
    return tmp + "/stolen.pem", tmp + "/both"


def steal_again(platform, client, tmp):
    """The key that signs now, too, after it sealed."""
    subprocess.run(["openssl", "pkey", "-in", platform.path("keys", "evidence.pem"), "-passin", "file:" + platform.path("secrets", "key_passphrase"), "-out", tmp + "/second.pem"], check=True, capture_output=True)
    key_id = fingerprint(tmp + "/second.pem", tmp)
    assert client.post("/keys", {"action": "rotate"}).status == 200
    since = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    reply = client.post("/keys", {"action": "compromise", "key_id": key_id, "since": since})
    assert reply.status == 200, reply
