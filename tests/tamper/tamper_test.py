#!/usr/bin/env python3
"""Makes a bundle through the API, verifies it with other people's tools alone, then tampers with it in every way: each verifier must refuse.

Verifiers: `openssl` and `sha256sum` driven from here, `sh verify.sh KEY.pub` (the copy that the program prints), POST /evidence/verify, and
`stella forensic verify`.
"""
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
from report import Report, Skip  # noqa: E402
from stella_platform import SAMPLES, Platform, binary  # noqa: E402

SEALED = ("evidence/seal.json", "evidence/items.jsonl", "evidence/root.merkle")


# ── a bundle as a dict of files ───────────────────────────────────────────────────────────────────────────────────────
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


# ── the tamperings: files -> files ────────────────────────────────────────────────────────────────────────────────────
TARGET = "data/outputs/decision.json"


def changed_file(files, **_):
    files[TARGET] = files[TARGET].replace(b"deny", b"pass", 1)
    return files


def changed_file_and_lists(files, **_):
    return mend_lists(changed_file(files))


def changed_file_and_item(files, **_):
    changed_file(files)
    items = items_of(files)
    for item in items:
        if item["item"]["path"] == TARGET:
            item["item"].update(sha256=hashlib.sha256(files[TARGET]).hexdigest(), size=len(files[TARGET]))
            item["commit"] = commit_of(item)
    set_items(files, items)
    return mend_lists(files)


def changed_file_up_to_the_seal(files, **_):
    changed_file(files)
    items = items_of(files)
    for item in items:
        if item["item"]["path"] == TARGET:
            item["item"].update(sha256=hashlib.sha256(files[TARGET]).hexdigest(), size=len(files[TARGET]))
    return mend_lists(reseal(files, items))


def foreign_signature(files, key, directory, **_):
    return mend_lists(sign(files, key, directory))


def foreign_signature_with_our_key_id(files, key, directory, **_):
    return mend_lists(sign(files, key, directory, keep_keyid=True))


def all_of_it_under_a_foreign_key(files, key, directory, **_):
    files = sign(changed_file_up_to_the_seal(files), key, directory)
    hint = next(n for n in files if n.startswith("trust-hints/"))
    files[hint] = subprocess.run(["openssl", "pkey", "-in", key, "-pubout"], capture_output=True, check=True).stdout
    return mend_lists(files)


def dropped_leaf(files, **_):
    items = [i for i in items_of(files) if i["item"]["path"] != TARGET]
    del files[TARGET]
    for n, item in enumerate(items):
        item["i"] = n
    set_items(files, items)
    return mend_lists(files)


def dropped_file(files, **_):
    del files[TARGET]
    return mend_lists(files)


def withheld_without_its_commitment(files, **_):
    items = items_of(files)
    for item in items:
        if item["item"]["path"] == TARGET:
            item["commit"] = "0" * 64
            del item["item"], item["salt"]
            break
    del files[TARGET]
    set_items(files, items)
    return mend_lists(files)


def swapped_salt(files, **_):
    items = items_of(files)
    items[0]["salt"], items[1]["salt"] = items[1]["salt"], items[0]["salt"]
    set_items(files, items)
    return mend_lists(files)


def swapped_files(files, **_):
    a, b = [n for n in sorted(files) if n.startswith("data/inputs/advisories/")][:2]
    files[a], files[b] = files[b], files[a]
    return mend_lists(files)


def extra_file(files, **_):
    files["data/outputs/more.json"] = b"{}"
    return files


def extra_file_in_the_lists(files, **_):
    return mend_lists(extra_file(files))


def extra_file_outside_data(files, **_):
    files["evidence/more.json"] = b"{}"
    return mend_lists(files)


def truncated_items(files, **_):
    set_items(files, items_of(files)[:-1])
    return mend_lists(files)


def items_cut_in_a_line(files, **_):
    files["evidence/items.jsonl"] = files["evidence/items.jsonl"][:-40]
    return mend_lists(files)


def reordered_items(files, **_):
    items = items_of(files)
    items[2], items[3] = items[3], items[2]
    set_items(files, items)
    return mend_lists(files)


def reordered_and_renumbered_items(files, **_):
    items = items_of(files)
    items[2], items[3] = items[3], items[2]
    for n, item in enumerate(items):
        item["i"] = n
    set_items(files, items)
    return mend_lists(files)


def doubled_item(files, **_):
    items = items_of(files)
    set_items(files, items + [dict(items[-1], i=len(items))])
    return mend_lists(files)


def changed_root(files, **_):
    files["evidence/root.merkle"] = files["evidence/root.merkle"].replace(b"a", b"b").replace(b"0", b"1")
    return mend_lists(files)


def changed_seal(files, **_):
    files["evidence/seal.json"] = files["evidence/seal.json"].replace(b'"CASE-1"', b'"CASE-2"')
    return mend_lists(files)


def no_signature(files, **_):
    envelope = json.loads(files["attest/seal.dsse.json"])
    envelope["signatures"] = []
    files["attest/seal.dsse.json"] = jcs(envelope).encode()
    return mend_lists(files)


# ── and of the log's files: verify.sh says that it does not check them; the verdict names each ───────────────────────
def custody_events(files, change):
    lines = files["custody/events.jsonl"].splitlines(True)
    files["custody/events.jsonl"] = b"".join(change(lines))
    return mend_lists(files)


def changed_event(files, **_):
    return custody_events(files, lambda lines: lines[:3] + [lines[3].replace(b'"actor":"', b'"actor":"x', 1)] + lines[4:])


def without_events(files, gone):
    """The proofs behind them move up, so that each fits its event."""
    lines = files["custody/events.jsonl"].splitlines(True)
    gone = {n for n, line in enumerate(lines) if gone(line, json.loads(line))}
    assert gone
    proofs = [files.pop(f"custody/{n:06}.tlog-proof") for n in range(len(lines))]
    for n, proof in enumerate(p for i, p in enumerate(proofs) if i not in gone):
        files[f"custody/{n:06}.tlog-proof"] = proof
    return custody_events(files, lambda lines: [line for n, line in enumerate(lines) if n not in gone])


def dropped_event_and_proof(files, **_):
    """Who computed the components?"""
    return without_events(files, lambda line, event: b'"components.ndjson"' in line and event["kind"] in ("job.finished", "sbom.computed"))


def dropped_end_of_the_payloads_job(files, **_):
    """Nobody takes the payload in, so no link is broken."""
    return without_events(files, lambda _, event: event["kind"] == "job.finished" and event["details"]["job_kind"] == "evidence.snapshot")


def one_event_dropped(files, prefix, number):
    """Nothing else is wrong with it: the proofs are renumbered, the lists made again."""
    return mend_lists(dropped_member(files, prefix, number))


def exchanged_event(files, other, **_):
    """Of the same kind, about another evaluation, with a good proof."""
    kind = lambda line: json.loads(line)["kind"]
    theirs = other["custody/events.jsonl"].splitlines(True)
    lines = files["custody/events.jsonl"].splitlines(True)
    here = next(n for n, line in enumerate(lines) if kind(line) == "policy.evaluated")
    there = next(n for n, line in enumerate(theirs) if kind(line) == "policy.evaluated" and line not in lines)
    files[f"custody/{here:06}.tlog-proof"] = other[f"custody/{there:06}.tlog-proof"]
    return custody_events(files, lambda _: lines[:here] + [theirs[there]] + lines[here + 1:])


def swapped_events(files, **_):
    return custody_events(files, lambda lines: lines[:2] + [lines[3], lines[2]] + lines[4:])


def doubled_event(files, **_):
    count = len(files["custody/events.jsonl"].splitlines())
    files[f"custody/{count:06}.tlog-proof"] = files[f"custody/{count - 1:06}.tlog-proof"]
    return custody_events(files, lambda lines: lines + [lines[-1]])


def invented_event(files, **_):
    return custody_events(files, lambda lines: lines + [lines[-1].replace(b'"event_id":"0', b'"event_id":"1', 1)])


def proof_of_another_event(files, **_):
    files["custody/000001.tlog-proof"] = files["custody/000002.tlog-proof"]
    return mend_lists(files)


def no_proof(files, **_):
    del files["custody/000001.tlog-proof"]
    return mend_lists(files)


def no_checkpoint(files, **_):
    del files["custody/checkpoint"]
    return mend_lists(files)


def checkpoint_of_another_size(files, **_):
    lines = files["custody/checkpoint"].split(b"\n")
    lines[1] = str(int(lines[1]) + 1).encode()
    files["custody/checkpoint"] = b"\n".join(lines)
    return mend_lists(files)


def checkpoint_of_the_other_log(files, **_):
    files["custody/checkpoint"] = files["custody/kb-checkpoint"]
    return mend_lists(files)


def proof_of_the_other_logs_head_in_the_deployment_log(files, **_):
    files["custody/deployment.tlog-proof"] = files["custody/kb-deployment.tlog-proof"]
    return mend_lists(files)


def head_in_the_deployment_log_at_another_index(files, **_):
    lines = files["custody/deployment.tlog-proof"].split(b"\n")
    lines[1] = b"index " + str(int(lines[1].split()[1]) + 1).encode()
    files["custody/deployment.tlog-proof"] = b"\n".join(lines)
    return mend_lists(files)


def older_checkpoint_of_the_deployment_log(files, platform, **_):
    """A good signature over a deployment log that did not have the head yet."""
    proof = files["custody/deployment.tlog-proof"]
    directory = platform.path("objects", "platform/log/checkpoints")
    with open(os.path.join(directory, min(os.listdir(directory), key=int)), "rb") as f:
        files["custody/deployment.tlog-proof"] = proof[:proof.index(b"\n\n") + 2] + f.read()
    return mend_lists(files)


def forked_deployment_log(files, **_):
    """Another root for the same size, under the old signature."""
    head, _, note = files["custody/deployment.tlog-proof"].partition(b"\n\n")
    lines = note.split(b"\n")
    lines[2] = base64.b64encode(hashlib.sha256(lines[2]).digest())
    files["custody/deployment.tlog-proof"] = head + b"\n\n" + b"\n".join(lines)
    return mend_lists(files)


def no_events_of_the_knowledge_base(files, **_):
    for name in [n for n in files if n.startswith("custody/kb-")]:
        del files[name]
    return mend_lists(files)


def only_events(files, keep):
    """The events of the tenant that `keep` says, with their proofs; none of the knowledge base."""
    lines = files["custody/events.jsonl"].splitlines(True)
    proofs = [files.pop(f"custody/{n:06}.tlog-proof") for n in range(len(lines))]
    kept = [n for n, line in enumerate(lines) if keep(json.loads(line))]
    for new, n in enumerate(kept):
        files[f"custody/{new:06}.tlog-proof"] = proofs[n]
    for name in [n for n in files if n.startswith("custody/kb-")]:
        del files[name]
    files["custody/events.jsonl"] = b"".join(lines[n] for n in kept)
    return mend_lists(files)


def no_event_at_all(files, **_):
    return only_events(files, lambda event: False)


def the_event_of_the_signature_alone(files, **_):
    return only_events(files, lambda event: event["kind"] == "evidence.signed")


def events_of_another_bundle(files, other, **_):
    """All that is enclosed of the logs, whole and proved, and about something else."""
    kept = {n: files[n] for n in files if not n.startswith("custody/")}
    return mend_lists({**kept, **{n: data for n, data in other.items() if n.startswith("custody/")}})


def a_proof_of_nothing(files, **_):
    files["custody/zz.tlog-proof"] = files["custody/000000.tlog-proof"]
    return mend_lists(files)


def events_of_another_tenant(files, **_):
    return custody_events(files, lambda lines: [line.replace(b'"tenant_id":"acme"', b'"tenant_id":"beta"') for line in lines])


# ── and of the keys' events: whoever stole a key wants its seal to be older than the day on which that became known ──
def dropped_member(files, prefix, number):
    """An event of a log with its proof; the proofs behind it move up."""
    lines = files[prefix + "events.jsonl"].splitlines(True)
    proofs = [files.pop(f"{prefix}{n:06}.tlog-proof") for n in range(len(lines))]
    for n, proof in enumerate(proofs[:number] + proofs[number + 1:]):
        files[f"{prefix}{n:06}.tlog-proof"] = proof
    files[prefix + "events.jsonl"] = b"".join(lines[:number] + lines[number + 1:])
    return files


def history_lines(files):
    return files["custody/keys.jsonl"].splitlines(True)


def compromise_event_withheld(files, **_):
    lines = history_lines(files)
    files["custody/keys.jsonl"] = b"".join(lines[:-1])
    return mend_lists(dropped_member(files, "custody/keys-", len(files["custody/keys-events.jsonl"].splitlines()) - 1))


def compromise_event_withheld_from_the_log(files, **_):
    return mend_lists(dropped_member(files, "custody/keys-", len(files["custody/keys-events.jsonl"].splitlines()) - 1))


def key_event_of_another_key(files, **_):
    lines = history_lines(files)
    files["custody/keys.jsonl"] = b"".join(lines[:-1] + [lines[0]])
    return mend_lists(files)


def position_after_the_checkpoint(files, **_):
    name = max(n for n in files if n.startswith("custody/keys-0"))
    size = int(files["custody/keys-checkpoint"].split(b"\n")[1])
    files[name] = b"\n".join(b"index %d" % (size + 3) if line.startswith(b"index ") else line for line in files[name].split(b"\n"))
    return mend_lists(files)


def no_event_of_the_signature(files, **_):
    lines = files["custody/events.jsonl"].splitlines()
    return mend_lists(dropped_member(files, "custody/", next(n for n, line in enumerate(lines) if json.loads(line)["kind"] == "evidence.signed")))


def backdated_with_a_stolen_key(files, key, directory, **_):
    """The stolen key signs an altered bundle, whose seal names what was known of keys before the theft was."""
    lines = history_lines(files)[:2]
    items = items_of(changed_file(files))
    for item in items:
        if item["item"]["path"] == TARGET:
            item["item"].update(sha256=hashlib.sha256(files[TARGET]).hexdigest(), size=len(files[TARGET]))
    files = reseal(files, items)
    files["custody/keys.jsonl"] = b"".join(lines)
    seal = json.loads(files["evidence/seal.json"])
    seal["predicate"]["keys"] = {"events": 2, "history_sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
    files["evidence/seal.json"] = jcs(seal).encode()
    while len(files["custody/keys-events.jsonl"].splitlines()) > 1:
        dropped_member(files, "custody/keys-", len(files["custody/keys-events.jsonl"].splitlines()) - 1)
    return mend_lists(sign(files, key, directory))


def sign_envelope(envelope, payload, key, directory):
    with open(directory + "/pae", "wb") as f:
        f.write(pae(payload))
    sig = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key, directory + "/pae"], capture_output=True, check=True).stdout
    envelope.update(payload=base64.b64encode(payload).decode(), payloadType="application/vnd.in-toto+json", signatures=[{"keyid": fingerprint(key, directory), "sig": base64.b64encode(sig).decode()}])
    return envelope


def omission_authorised_with_a_stolen_key(files, key, directory, **_):
    items = items_of(files)
    gone = next(i for i in items if i["item"]["path"] == TARGET)
    del files[TARGET], gone["item"], gone["salt"]
    set_items(files, items)
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [{"name": "evidence/root.merkle", "digest": {"sha256": hashlib.sha256(files["evidence/root.merkle"]).hexdigest()}}],
                 "predicateType": "https://stellaops.dev/evidence-redaction/v1", "predicate": {"reason": "nothing to see", "withheld": [gone["i"]]}}
    files["redaction/1.dsse.json"] = jcs(sign_envelope({}, jcs(statement).encode(), key, directory)).encode()
    return mend_lists(files)


def attestation_of_a_stolen_key(files, key, directory, **_):
    bundle = json.loads(files["attest/vsa.sigstore.json"])
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["verificationResult"] = "PASSED" if statement["predicate"]["verificationResult"] != "PASSED" else "FAILED"
    envelope = sign_envelope(bundle["dsseEnvelope"], jcs(statement).encode(), key, directory)
    bundle["verificationMaterial"]["publicKey"]["hint"] = envelope["signatures"][0]["keyid"]
    files["attest/vsa.sigstore.json"] = jcs(bundle).encode()
    return mend_lists(files)


def statements_of(files):
    return [n for n in files if n.startswith("attest/") and not n.startswith("attest/seal.")]


def attestation_dropped(files, **_):
    del files["attest/vsa.sigstore.json"]
    return mend_lists(files)


def attestations_dropped(files, **_):
    for name in statements_of(files):
        del files[name]
    return mend_lists(files)


def attestations_of_another_bundle(files, other, **_):
    """Signed by the same key, about another evaluation."""
    for name in statements_of(files):
        files[name] = other[name]
    return mend_lists(files)


def attestation_under_another_name(files, **_):
    files["attest/vulns.sigstore.json"] = files["attest/vsa.sigstore.json"]
    return mend_lists(files)


def garbage_among_the_redactions(files, **_):
    files["redaction/zz.dsse.json"] = b"junk"
    return mend_lists(files)


def omissions_of_two_copies_added_up(files, other, **_):
    """Two copies of one bundle, each with its own files withheld and authorised, made into one without either's files."""
    kept = {i["i"]: i for i in items_of(other)}
    items = items_of(files)
    for item in items:
        if "item" in item and "item" not in kept[item["i"]]:
            del files[item["item"]["path"]], item["item"], item["salt"]
    set_items(files, items)
    files["redaction/2.dsse.json"] = other["redaction/1.dsse.json"]
    return mend_lists(files)


# What was done, and the dimension of the verdict that says so ("" where it is no bundle any more).
TAMPERINGS = {
    changed_file: "INTEGRITY", changed_file_and_lists: "INTEGRITY", changed_file_and_item: "INTEGRITY", changed_file_up_to_the_seal: "AUTHENTICITY", foreign_signature: "AUTHENTICITY",
    foreign_signature_with_our_key_id: "AUTHENTICITY", all_of_it_under_a_foreign_key: "AUTHENTICITY", dropped_leaf: "INTEGRITY", dropped_file: "INTEGRITY",
    withheld_without_its_commitment: "INTEGRITY", swapped_salt: "INTEGRITY", swapped_files: "INTEGRITY", extra_file: "INTEGRITY", extra_file_in_the_lists: "INTEGRITY",
    extra_file_outside_data: "INTEGRITY", truncated_items: "INTEGRITY", items_cut_in_a_line: "INTEGRITY", reordered_items: "INTEGRITY", reordered_and_renumbered_items: "INTEGRITY",
    doubled_item: "INTEGRITY", changed_root: "INTEGRITY", changed_seal: "INTEGRITY", no_signature: "AUTHENTICITY"}
# Each is among the events that the seal names, so it is refused without any key of a log.
EVENT_TAMPERINGS = {
    changed_event: "INCLUSION", swapped_events: "INCLUSION", dropped_event_and_proof: "CUSTODY", dropped_end_of_the_payloads_job: "CUSTODY", exchanged_event: "CUSTODY",
    no_events_of_the_knowledge_base: "CUSTODY", events_of_another_tenant: "CUSTODY", no_event_at_all: "CUSTODY", the_event_of_the_signature_alone: "CUSTODY",
    events_of_another_bundle: "CUSTODY"}
# And so is any one of these alone, however well the rest hangs together without it.
DROPPED_KINDS = (
    "advisory.ingested", "advisory.linked", "attestation.created", "evidence.snapshot", "export.created", "export.requested", "finding.closed", "finding.opened", "job.finished",
    "job.scheduled", "job.started", "policy.evaluated", "policy.published", "sbom.computed", "sbom.received", "source.fetched", "vex.ingested", "vex.reconciled")
LOG_TAMPERINGS = {
    doubled_event: "INCLUSION", invented_event: "INCLUSION", proof_of_another_event: "INCLUSION", no_proof: "INCLUSION", no_checkpoint: "INCLUSION", checkpoint_of_another_size: "INCLUSION", checkpoint_of_the_other_log: "INCLUSION",
    proof_of_the_other_logs_head_in_the_deployment_log: "INCLUSION", head_in_the_deployment_log_at_another_index: "INCLUSION",
    older_checkpoint_of_the_deployment_log: "INCLUSION", forked_deployment_log: "INCLUSION",
    a_proof_of_nothing: "INCLUSION"}


# verify.sh says that it does not check attestations; ours refuse the bundle for what the seal names.
ATTEST_TAMPERINGS = {
    attestation_dropped: "INTEGRITY", attestations_dropped: "INTEGRITY", attestations_of_another_bundle: "INTEGRITY", attestation_under_another_name: "INTEGRITY",
    garbage_among_the_redactions: "INTEGRITY"}


# With both keys trusted, the one that was stolen, too.
KEY_TAMPERINGS = {
    compromise_event_withheld: "KEY-STATUS", compromise_event_withheld_from_the_log: "KEY-STATUS", key_event_of_another_key: "KEY-STATUS", position_after_the_checkpoint: "KEY-STATUS",
    no_event_of_the_signature: "KEY-STATUS", backdated_with_a_stolen_key: "KEY-STATUS", omission_authorised_with_a_stolen_key: "COMPLETENESS", attestation_of_a_stolen_key: "KEY-STATUS"}


# With a redacted copy and another one of the same bundle; no key is needed.
COPY_TAMPERINGS = {omissions_of_two_copies_added_up: "COMPLETENESS"}


def table():
    """The rows of docs/guarantees.md."""
    name = lambda f: f.__name__.replace("_", " ")
    rows = [f"| {name(f)} | {d} | refused | refused | refused |" for f, d in TAMPERINGS.items()]
    rows += [f"| {name(f)} | INTEGRITY, {d} | refused | refused | refused |" for f, d in EVENT_TAMPERINGS.items()]
    rows += [f"| dropped event {kind} alone, with its proof | INTEGRITY, COMPLETENESS, CUSTODY | refused | refused | refused |" for kind in DROPPED_KINDS]
    rows += [f"| {name(f)} | {d} | not checked there | refused | refused |" for f, d in ATTEST_TAMPERINGS.items()]
    rows += [f"| {name(f)} | {d} | not checked there | in the verdict | with `--require` |" for f, d in {**LOG_TAMPERINGS, **KEY_TAMPERINGS, **COPY_TAMPERINGS}.items()]
    return "\n".join(["| what was done to a bundle | the verdict's dimension | `verify.sh` | API | `stella` |", "| --- | --- | --- | --- | --- |", *rows]) + "\n"


# ── the verifiers: (bundle bytes) -> True where they accept ───────────────────────────────────────────────────────────
class Verifiers:
    def __init__(self, platform, client, script):
        self.platform, self.client, self.script, self.program = platform, client, script, binary("stella", required=False)

    def put(self, tgz):
        path = self.platform.path("tmp", "t.tgz")
        with open(path, "wb") as f:
            f.write(tgz)
        return path

    def verify_sh(self, tgz, key=None):
        done = subprocess.run(["sh", self.script] + ([] if key == "" else [key or self.platform.key_path(), self.put(tgz)]), capture_output=True, text=True, timeout=120,
                              cwd=self.platform.path("tmp"))
        return done.returncode, done.stdout + done.stderr

    def by_hand(self, tgz):
        """Two tools and nothing of ours but the layout: sha256sum -c, and openssl over the DSSE bytes."""
        directory = self.platform.path("tmp", "hand")
        subprocess.run(["rm", "-rf", directory], check=True)
        os.mkdir(directory)
        subprocess.run(["tar", "-xzf", self.put(tgz), "-C", directory], check=True)
        for name in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
            if subprocess.run(["sha256sum", "-c", "--quiet", "--strict", name], cwd=directory, capture_output=True).returncode != 0:
                return False
        files = unpack(tgz)
        envelope = json.loads(files["attest/seal.dsse.json"])
        if base64.b64decode(envelope["payload"]) != files["evidence/seal.json"]:
            return False
        good = False
        for s in envelope["signatures"]:
            for name, data in (("pae", pae(files["evidence/seal.json"])), ("sig", base64.b64decode(s["sig"]))):
                with open(directory + "/" + name, "wb") as f:
                    f.write(data)
            good |= subprocess.run(["openssl", "dgst", "-sha256", "-verify", self.platform.key_path(), "-signature", directory + "/sig", directory + "/pae"],
                                   capture_output=True).returncode == 0
        return good

    def api(self, tgz):
        reply = self.client.post("/evidence/verify", tgz, headers={"content-type": "application/gzip"})
        assert reply.status in (200, 400, 413, 422), reply
        return reply.status == 200 and reply["result"] == "pass", reply.text

    def dimensions(self, tgz, trust=None, *options):
        """The dimensions that fail, where everything is trusted that this installation has keys for."""
        return self.dimensions_that("FAIL", tgz, trust, *options)

    def dimensions_that(self, outcome, tgz, trust=None, *options):
        done = subprocess.run([self.program, "forensic", "verify", "-o", "json", *options, "--trust", trust or self.platform.key_path(), "--trust-log", self.platform.path("keys", "log.pub"), self.put(tgz)],
                              capture_output=True, text=True, timeout=120, env={**os.environ, "STELLA_CONFIG_DIR": self.platform.path("tmp"), "HOME": self.platform.path("tmp")})
        if done.returncode == 3:
            return {"": done.stderr}
        return {d["name"]: d["reason"] for d in json.loads(done.stdout)["dimensions"] if d["outcome"] == outcome}

    def stella(self, tgz, trust=None):
        done = subprocess.run([self.program, "forensic", "verify", "--trust", trust or self.platform.key_path(), self.put(tgz)], capture_output=True, text=True, timeout=120,
                              env={**os.environ, "STELLA_CONFIG_DIR": self.platform.path("tmp"), "HOME": self.platform.path("tmp")})
        return done.returncode, done.stdout + done.stderr


def sealed_kinds(files):
    """(prefix, number, kind) of each event that the seal names."""
    said = json.loads(files["evidence/seal.json"])["predicate"]["custody"]
    for part, prefix in (("tenant", "custody/"), ("knowledge_base", "custody/kb-")):
        for n, line in enumerate(files.get(prefix + "events.jsonl", b"").splitlines()[:said.get(part, {"events": 0})["events"]]):
            yield prefix, n, json.loads(line)["kind"]


def check_events(report, v, platform, tgz, others):
    """What the seal names of the logs is there, all of it and nothing else, or every verifier refuses."""
    def refused(name, files, dimensions, by_all=True):
        bundle = pack(files)
        failing = v.dimensions(bundle)
        report.check(f"{name}: {dimensions} say so", set(dimensions) <= set(failing), failing)
        if by_all:
            code, text = v.verify_sh(bundle)
            report.check(f"{name}: verify.sh refuses", code == 1, f"exit {code}: {text}")
            report.check(f"{name}: API refuses", not v.api(bundle)[0])
            code, text = v.stella(bundle)
            report.check(f"{name}: stella refuses", code == 1, f"exit {code}: {text}")
        return failing

    for tamper, dimension in EVENT_TAMPERINGS.items():
        before = unpack(tgz)
        files = tamper(dict(before), platform=platform, other=unpack(others["of another evaluation"]))
        assert files != before, tamper
        refused(tamper.__name__.replace("_", " "), files, ("INTEGRITY", dimension))
    seen = set()
    for bundle_name, bundle in {"": tgz, **others}.items():
        if "copy" in bundle_name:
            continue
        in_this = set()
        for prefix, number, kind in sealed_kinds(unpack(bundle)):
            if bundle_name and kind in in_this:
                continue
            in_this.add(kind)
            failing = refused(f"dropped {kind} ({prefix}{number}) {bundle_name}", one_event_dropped(unpack(bundle), prefix, number), ("INTEGRITY", "COMPLETENESS", "CUSTODY"), by_all=kind not in seen)
            report.check(f"dropped {kind} ({prefix}{number}) {bundle_name}: is named", kind in failing.get("COMPLETENESS", ""), failing)
            seen.add(kind)
    report.check("each kind of event that was dropped is in the table", seen == set(DROPPED_KINDS), sorted(seen))


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


def main():
    report = Report("tamper")
    report.check("the table of the docs is this one", write_table(True), "run tests/tamper/tamper_test.py docs")
    with Platform(tenants=("acme",)) as platform:
        client, tmp = platform.client("admin"), platform.path("tmp")
        stolen, both = steal_key(platform, client, tmp)
        tgz = make_bundle(client)
        others = other_bundles(client, json.loads(unpack(tgz)["evidence/seal.json"])["predicate"]["resource_id"])
        script = tmp + "/verify.sh"
        program = binary("stella", required=False)
        if program:
            published = subprocess.run([program, "-q", "forensic", "verify-script"], capture_output=True).stdout
            report.check("the published verify.sh is the one in the bundle", published == unpack(tgz)["verify.sh"], "they differ")
        else:
            published = unpack(tgz)["verify.sh"]
        with open(script, "wb") as f:
            f.write(published)
        v = Verifiers(platform, client, script)
        foreign = tmp + "/foreign.pem"
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", foreign], check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", foreign, "-pubout", "-out", tmp + "/foreign.pub"], check=True, capture_output=True)

        # The bundle as it is, and packed again by us: what is refused below is refused for what was done to it.
        for name, bundle in (("as exported", tgz), ("packed again", pack(unpack(tgz))), ("with lists of ours", pack(mend_lists(unpack(tgz))))):
            code, text = v.verify_sh(bundle)
            report.check(f"{name}: verify.sh", code == 0, text)
            report.check(f"{name}: sha256sum and openssl", v.by_hand(bundle))
            accepted, text = v.api(bundle)
            report.check(f"{name}: API", accepted, text)
            if program:
                code, text = v.stella(bundle)
                report.check(f"{name}: stella", code == 0, f"{code} {text}")
        report.check("the same leaves and root by our own arithmetic", root_of(items_of(unpack(tgz))) == unpack(tgz)["evidence/root.merkle"].decode().split()[1])
        report.check("every commitment is the hash of salt and item", all(commit_of(i) == i["commit"] for i in items_of(unpack(tgz))))
        report.check("verify.sh without a key exits 2", v.verify_sh(tgz, key="")[0] == 2)
        report.check("verify.sh with another key exits 1", v.verify_sh(tgz, key=tmp + "/foreign.pub")[0] == 1)
        if program:
            report.check("stella with another key does not pass", v.stella(tgz, tmp + "/foreign.pub")[0] in (1, 2))

        if program:
            report.check("nothing fails in the bundle as it is", v.dimensions(tgz) == {}, v.dimensions(tgz))
            for name, bundle in {"as it is": tgz, **others}.items():
                passing = v.dimensions_that("PASS", bundle)
                report.check(f"{name}: the chain is its own", {"INTEGRITY", "AUTHENTICITY", "INCLUSION", "COMPLETENESS", "CUSTODY", "KEY-STATUS"} <= set(passing),
                             (v.dimensions(bundle), v.dimensions_that("NOT-CHECKED", bundle)))
            check_events(report, v, platform, tgz, others)
            for tamper, dimension in LOG_TAMPERINGS.items():
                name = tamper.__name__.replace("_", " ")
                before = unpack(tgz)
                files = tamper(dict(before), platform=platform, other=unpack(others["of another evaluation"]))
                assert files != before, name
                failing = v.dimensions(pack(files))
                report.check(f"{name}: {dimension} says so", dimension in failing, failing)
            for tamper, dimension in ATTEST_TAMPERINGS.items():
                name = tamper.__name__.replace("_", " ")
                before = unpack(tgz)
                files = tamper(dict(before), other=unpack(others["of another evaluation"]))
                assert files != before, name
                bundle = pack(files)
                code, text = v.verify_sh(bundle)
                report.check(f"{name}: verify.sh says that it does not look", code == 0 and "NOT CHECKED  attestations" in text and "redactions" in text, f"exit {code}: {text}")
                report.check(f"{name}: API refuses", not v.api(bundle)[0])
                code, text = v.stella(bundle)
                report.check(f"{name}: stella refuses", code == 1, f"exit {code}: {text}")
                failing = v.dimensions(bundle)
                report.check(f"{name}: {dimension} says so", dimension in failing, failing)

            passing = json.loads(subprocess.run([program, "forensic", "verify", "-o", "json", "--trust", both, "--trust-log", platform.path("keys", "log.pub"), v.put(tgz)], capture_output=True, text=True,
                                                env={**os.environ, "STELLA_CONFIG_DIR": tmp, "HOME": tmp}).stdout)
            status = next(d for d in passing["dimensions"] if d["name"] == "KEY-STATUS")
            report.check("the logs alone say that the key was good", status["outcome"] == "PASS" and "entry" in status["reason"], status)
            for tamper, dimension in KEY_TAMPERINGS.items():
                name = tamper.__name__.replace("_", " ")
                before = unpack(tgz)
                files = tamper(dict(before), key=stolen, directory=tmp)
                assert files != before, name
                failing = v.dimensions(pack(files), both)
                report.check(f"{name}: {dimension} says so", dimension in failing and "AUTHENTICITY" not in failing, failing)

            for tamper, dimension in COPY_TAMPERINGS.items():
                name = tamper.__name__.replace("_", " ")
                before = unpack(others["a copy with files withheld"])
                files = tamper(dict(before), other=unpack(others["a copy with others withheld"]))
                assert files != before, name
                bundle = pack(files)
                failing = v.dimensions(bundle)
                report.check(f"{name}: {dimension} says so", set(failing) == {dimension}, failing)
                said = {d["name"]: d["outcome"] for d in json.loads(v.api(bundle)[1])["dimensions"]}
                report.check(f"{name}: the API's verdict says so", said[dimension] == "FAIL", said)

        for tamper, dimension in TAMPERINGS.items():
            name = tamper.__name__.replace("_", " ")
            before = unpack(tgz)
            files = tamper(dict(before), key=foreign, directory=tmp)
            assert files != before, name
            bundle = pack(files)
            code, text = v.verify_sh(bundle)
            report.check(f"{name}: verify.sh refuses", code == 1, f"exit {code}: {text}")
            accepted, text = v.api(bundle)
            report.check(f"{name}: API refuses", not accepted, text)
            if program:
                code, text = v.stella(bundle)
                report.check(f"{name}: stella refuses", code in (1, 3), f"exit {code}: {text}")
                failing = v.dimensions(bundle)
                report.check(f"{name}: {dimension} says so", dimension in failing or "" in failing, failing)

        for name, bundle in (("cut in half", tgz[:len(tgz) // 2]), ("bytes after the end", tgz + b"more"), ("two gzip members", tgz + pack({"x": b""})), ("no gzip", b"x" * 1000),
                             ("a file twice", None), ("a path that leaves", pack({**unpack(tgz), "../evil": b""})), ("empty", b"")):
            if bundle is None:
                out = io.BytesIO()
                with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.USTAR_FORMAT) as tar:
                    for n, d in sorted(unpack(tgz).items()) + [(TARGET, unpack(tgz)[TARGET])]:
                        info = tarfile.TarInfo(n)
                        info.size = len(d)
                        tar.addfile(info, io.BytesIO(d))
                bundle = out.getvalue()
            accepted, text = v.api(bundle)
            report.check(f"{name}: API refuses", not accepted, text)
            if program:
                code, text = v.stella(bundle)
                report.check(f"{name}: stella refuses", code in (1, 3), f"exit {code}: {text}")

        # A redacted copy of ours in the place of its original: all of it is signed by us, and it is another bundle.
        row = platform.sql("SELECT path, id FROM evidence_bundles")[0]
        copy = client.post(f"/evidence/{row['id']}/redact?wait=60", {"withhold": ["role:trace"], "reason": "privacy"})["bundle_id"]
        stored = platform.path("objects", row["path"])
        os.chmod(stored, 0o644)
        with open(stored, "wb") as f, open(platform.path("objects", platform.sql(f"SELECT path FROM evidence_bundles WHERE id = '{copy}'")[0]["path"]), "rb") as other:
            f.write(other.read())
        seen = client.get("/evidence/" + row["id"])["verdict"]
        report.check("a copy in the place of its original: INTEGRITY says so", seen["result"] == "fail" and seen["dimensions"][0]["outcome"] == "FAIL" and "digest" in seen["dimensions"][0]["reason"], seen)
        reply = client.post("/evidence/verify", {"bundle_id": row["id"]})
        report.check("verified again: the same", reply["result"] == "fail", reply)
        report.check("it has no custody", client.get(f"/evidence/{row['id']}/custody").status >= 400)
        report.check("and is not exported", client.post(f"/evidence/{row['id']}/export", {"recipient": "x"}).status >= 400)
        with open(stored, "wb") as f:
            f.write(tgz)
        report.check("the original is good again", client.get("/evidence/" + row["id"])["verdict"]["result"] == "pass")

        # Bundles of before a theft: the stolen key counts for the seal, and for nothing that could have been signed since.
        steal_again(platform, client, tmp)
        accepted, text = v.api(tgz)
        report.check("sealed before the theft: API", accepted, text)
        report.check("an attestation of the stolen key: API refuses", not v.api(pack(attestation_of_a_stolen_key(unpack(tgz), tmp + "/second.pem", tmp)))[0])
        _, text = v.api(pack(omission_authorised_with_a_stolen_key(unpack(tgz), tmp + "/second.pem", tmp)))
        said = next(d for d in json.loads(text)["dimensions"] if d["name"] == "COMPLETENESS")
        report.check("an omission authorised with it: COMPLETENESS says so", said["outcome"] == "FAIL" and "does not count" in said["reason"], said)

        # What is stored is checked, too: a superuser's change of the stored bundle is found on the next read.
        row = platform.sql("SELECT path, id FROM evidence_bundles")[0]
        stored = platform.path("objects", row["path"])
        os.chmod(stored, 0o644)
        with open(stored, "wb") as f:
            f.write(pack(changed_file_and_lists(unpack(tgz))))
        reply = client.get("/evidence/" + row["id"])
        report.check("a changed bundle in the store is not served as good", reply.status >= 400 or reply["verdict"]["result"] != "pass", reply)
        reply = client.post(f"/evidence/{row['id']}/export", {"recipient": "x"})
        report.check("and not exported", reply.status >= 400, reply)
    report.end()


def write_table(check):
    """The table in docs/guarantees.md is this file's: written with `docs`, compared in every run."""
    path = os.path.join(HERE, "..", "..", "docs", "guarantees.md")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    begin, end = "<!-- tampering -->\n", "<!-- end of tampering -->"
    head, rest = text.split(begin)
    new = head + begin + table() + end + rest.split(end)[1]
    if check:
        return new == text
    with open(path, "w", encoding="utf-8") as f:
        f.write(new)
    return True


if __name__ == "__main__":
    if sys.argv[1:] == ["docs"]:
        write_table(False)
    else:
        main()
