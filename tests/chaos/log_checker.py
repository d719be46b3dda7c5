"""What the logs of a run must be: indexes without gaps but where the log itself says that entries expired, one root for every size ever shown or signed."""
import base64
import hashlib
import json
import os
import re
from collections import defaultdict


def sha(data):
    return hashlib.sha256(data).digest()


class Tree:
    """RFC 6962, by the book: the root of every prefix from a stack of perfect subtrees."""

    def __init__(self):
        self.stack, self.size = [], 0

    def add(self, entry):
        return self.add_leaf(sha(b"\0" + entry))

    def add_leaf(self, leaf):
        node, size = leaf, self.size
        while size & 1:
            node, size = sha(b"\1" + self.stack.pop() + node), size >> 1
        self.stack.append(node)
        self.size += 1
        return leaf

    def root(self):
        if not self.stack:
            return sha(b"")
        node = self.stack[-1]
        for left in reversed(self.stack[:-1]):
            node = sha(b"\1" + left + node)
        return node


def expired_of(entries):
    """The indexes that the dispositions of a log say are gone."""
    gone = set()
    for entry in entries:
        details = entry["details"]
        if entry["kind"] != "disposition.executed" or details.get("what") != "timeline_entries":
            continue
        kept = set()
        for run in details["kept"]:
            first, _, last = run.partition("-")
            kept.update(range(int(first), int(last or first) + 1))
        gone.update(set(range(details["from_index"], details["below_index"])) - kept)
    return gone


def multirange(text):
    return {i for first, end in re.findall(r"\[(\d+),(\d+)\)", text) for i in range(int(first), int(end))}


def check_logs(sql, heads, say, old=None, objects=None):
    """Every log of every tenant; returns its entries as dicts, in log order.

    old: {tenant: [bytes]}, what the test itself put at the beginning of a log: of entries that expired nothing else is left to make the tree of.
    objects: the object store's directory; its checkpoints are held against the tree.
    """
    old, out, shown = old or {}, defaultdict(list), defaultdict(dict)
    for tenant, size, root in heads:
        if shown[tenant].setdefault(size, root) != root:
            say(f"{tenant}: two roots were shown for size {size}")
    if objects:
        signed_roots(sql, objects, shown, say)
    rows = defaultdict(list)
    for row in sql("SELECT tenant_id, log_index, event_id, encode(entry, 'hex') AS entry FROM timeline_log ORDER BY tenant_id, log_index"):
        rows[row["tenant_id"]].append((row["log_index"], row["event_id"], bytes.fromhex(row["entry"])))
    events = {(e["tenant_id"], e["event_id"]): e for e in sql("SELECT tenant_id, event_id, kind, encode(digest, 'hex') AS digest FROM timeline_events")}
    recorded = defaultdict(set)
    for row in sql("SELECT tenant_id, gone::text AS gone FROM timeline_dispositions WHERE state = 'executed'"):
        recorded[row["tenant_id"]] |= multirange(row["gone"])
    trees = defaultdict(Tree)
    for tenant, log in rows.items():
        out[tenant] = [json.loads(data) for _, _, data in log]
        gone = expired_of(out[tenant])
        if gone != recorded[tenant]:
            say(f"{tenant}: the log says that {len(gone)} entries expired, the record {len(recorded[tenant])}")
        missing = set(range(log[-1][0] + 1)) - {i for i, _, _ in log}
        if missing != gone:
            say(f"{tenant}: missing beyond what expired: {sorted(missing - gone)[:5]}, still there: {sorted(gone - missing)[:5]}")
        check_log(tenant, log, gone, old.get(tenant, []), trees[tenant], events, shown[tenant], say)
    for key in events:
        say(f"event row without a log entry: {key}")
    for tenant, sizes in shown.items():
        if max(sizes, default=0) > trees[tenant].size:
            say(f"{tenant}: size {max(sizes)} was shown or signed, the log has {trees[tenant].size}")
    check_heads(sql, trees, say)
    return out


def check_log(tenant, log, gone, old, tree, events, shown, say):
    for index, event_id, data in log:
        while tree.size in gone and tree.size < index:
            if tree.size >= len(old):
                say(f"{tenant}: entry {tree.size} expired and is not old")
                return
            tree.add(old[tree.size])
            held_against(tenant, tree, shown, say)
        if index != tree.size:
            say(f"{tenant}: log index {index} stands at place {tree.size}")
        if index < len(old) and data != old[index]:
            say(f"{tenant}: entry {index} is not the old one")
        leaf, entry = tree.add(data), json.loads(data)
        event = events.pop((tenant, event_id), None)
        if event is None:
            say(f"{tenant}: entry {index} has no event row")
        elif event["digest"] != leaf.hex() or event["kind"] != entry["kind"]:
            say(f"{tenant}: entry {index}: the event row's digest or kind is another")
        if entry["event_id"] != event_id or entry["tenant_id"] != tenant:
            say(f"{tenant}: entry {index} speaks of another event or tenant")
        held_against(tenant, tree, shown, say)


def held_against(tenant, tree, shown, say):
    if tree.size in shown and shown[tree.size] != tree.root().hex():
        say(f"{tenant}: the root shown or signed for size {tree.size} is not the root of the first {tree.size} entries")


def check_heads(sql, trees, say):
    for head in sql("SELECT tenant_id, size, encode(root, 'hex') AS root, published FROM timeline_heads"):
        tree = trees[head["tenant_id"]]
        if (head["size"], head["root"]) != (tree.size, tree.root().hex()):
            say(f"{head['tenant_id']}: the head says {head['size']} {head['root'][:16]}, the entries {tree.size} {tree.root().hex()[:16]}")
        if head["published"] != head["size"]:
            say(f"{head['tenant_id']}: published up to {head['published']} of {head['size']}")
    if sql("SELECT count(*) AS n FROM timeline_outbox")[0]["n"]:
        say("the outbox is not empty")


# ── checkpoints ───────────────────────────────────────────────────────────────────────────────────────────────────────
def checkpoints_of(objects):
    """{tenant: {size: text}} of everything that was ever signed, also where the row of it was lost with its transaction."""
    out = defaultdict(dict)
    for directory, _, names in os.walk(os.path.join(objects, "tenants")):
        found = re.search(r"tenants/([^/]+)/log/checkpoints$", directory)
        for name in names if found else []:
            with open(os.path.join(directory, name), encoding="utf-8") as f:
                out[found.group(1)][int(name)] = f.read()
    return out


def signed_roots(sql, objects, shown, say):
    """Adds the root of every signed checkpoint to what was shown; one origin per log, and every row is an object."""
    rows = sql("SELECT tenant_id, size, note FROM timeline_checkpoints")
    notes = checkpoints_of(objects)  # after the rows: an object is there before its row
    origins = {r["tenant_id"]: r["origin"] for r in sql("SELECT tenant_id, origin FROM timeline_logs")}
    for tenant, sizes in notes.items():
        for size, text in sizes.items():
            origin, count, root = text.split("\n")[:3]
            if origin != origins.get(tenant):
                say(f"{tenant}: the checkpoint of size {size} was signed for the log {origin}, the tenant's is {origins.get(tenant)}")
            if int(count) != size:
                say(f"{tenant}: the checkpoint {size} says {count}")
            root = base64.b64decode(root).hex()
            if shown[tenant].setdefault(size, root) != root:
                say(f"{tenant}: the checkpoint of size {size} has another root than was shown")
    for row in rows:
        if notes.get(row["tenant_id"], {}).get(row["size"]) != row["note"]:
            say(f"{row['tenant_id']}: the checkpoint of size {row['size']} is not what lies in the object store")


def check_deployment(p, say):
    """Every checkpoint of the deployment log that was ever signed, committed or not, is the root of its first leaves. Rows are read after what rests on them."""
    notes = {row["size"]: row["note"] for row in p.sql("SELECT size, note FROM deployment_checkpoints")}
    objects = {}
    directory = p.path("objects", "platform", "log", "checkpoints")
    for name in os.listdir(directory) if os.path.isdir(directory) else []:
        with open(os.path.join(directory, name), encoding="utf-8") as f:
            objects[int(name)] = f.read()
    log = p.sql("SELECT size, placed, encode(root, 'hex') AS root FROM deployment_log")[0]
    tree, roots = Tree(), {0: b""}
    for row in p.sql("SELECT deployment_index AS n, note FROM timeline_checkpoints WHERE deployment_index IS NOT NULL ORDER BY deployment_index"):
        if row["n"] != tree.size:
            say(f"deployment log: leaf {row['n']} stands at place {tree.size}")
        tree.add(row["note"].encode())
        roots[tree.size] = tree.root()
    if not log["size"]:
        say("deployment log: nothing is signed")
    if log["placed"] > tree.size or roots.get(log["size"], b"").hex() != log["root"]:
        say(f"deployment log: {log} over {tree.size} leaves")
    for size, note in notes.items():
        if objects.get(size) != note:
            say(f"deployment log: the checkpoint of size {size} is no object, or another one")
    origin = p.sql("SELECT origin FROM deployment_log")[0]["origin"]
    for size, note in objects.items():
        if note.split("\n")[0] != origin:
            say(f"deployment log: the checkpoint of size {size} was signed for {note.split(chr(10))[0]}, the log is {origin}")
        if base64.b64decode(note.split("\n")[2]) != roots.get(size):
            say(f"deployment log: the checkpoint of size {size} is not of its first leaves")
