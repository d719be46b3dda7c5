"""What is done to a bundle (files -> files), and the tables of it: which dimension of the verdict says so."""
import base64
import hashlib
import json
import os
import subprocess

from bundle_files import commit_of, fingerprint, items_of, jcs, mend_lists, pae, reseal, set_items, sign

TARGET = "data/outputs/decision.json"


def changed_file(files, **_):
    files[TARGET] = files[TARGET].replace(b"deny", b"pass", 1)
    return files


def changed_file_and_lists(files, **_):
    return mend_lists(changed_file(files))


def items_that_follow(files):
    """The items, the target's with the digest and the size of what is there now."""
    items = items_of(files)
    for item in items:
        if item["item"]["path"] == TARGET:
            item["item"].update(sha256=hashlib.sha256(files[TARGET]).hexdigest(), size=len(files[TARGET]))
    return items


def changed_file_and_item(files, **_):
    items = items_that_follow(changed_file(files))
    for item in items:
        if item["item"]["path"] == TARGET:
            item["commit"] = commit_of(item)
    set_items(files, items)
    return mend_lists(files)


def changed_file_up_to_the_seal(files, **_):
    items = items_that_follow(changed_file(files))
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
