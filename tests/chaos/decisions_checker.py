"""What people decided in a run, held against rows and log: findings of two evaluations, redacted copies, holds, cases, retention, principals, annotations."""
from collections import Counter, defaultdict

FIELDS = ("verdict", "severity", "decision_effect", "vex_status", "fixed_versions")


def check_decisions(sql, told, entries, say):
    check_findings(sql, entries, say)
    check_copies(sql, told, entries, say)
    check_cases(sql, told, entries, say)
    check_principals(sql, told, entries, say)
    check_said(sql, told, entries, say)


def every(entries):
    return (e for log in entries.values() for e in log)


# ── findings ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def is_open(f):
    return f["verdict"] in ("affected", "unknown") and f["vex_status"] not in ("not_affected", "fixed")


def differences(before, after):
    """Counter of (kind, purl, advisory) between two evaluations' findings, {(purl, advisory, nth): finding}."""
    out = Counter()
    for key in before.keys() | after.keys():
        was, now = before.get(key), after.get(key)
        was_open, now_open = bool(was) and is_open(was), bool(now) and is_open(now)
        if was_open and now_open:
            kind = "finding.changed" if any(was[f] != now[f] for f in FIELDS) else None
        else:
            kind = "finding.closed" if was_open else "finding.opened" if now_open else None
        if kind:
            out[(kind, key[0], key[1])] += 1
    return out


def check_findings(sql, entries, say):
    """Each evaluation says exactly what it changed; the events of one finding tell a story that can be."""
    of, nth = defaultdict(dict), Counter()
    for f in sql("SELECT evaluation_id, purl, advisory_id, " + ", ".join(FIELDS) + " FROM findings ORDER BY evaluation_id, finding_no"):
        name = (f["evaluation_id"], f["purl"], f["advisory_id"])
        nth[name] += 1
        of[f["evaluation_id"]][(*name[1:], nth[name])] = f
    said = defaultdict(Counter)
    for e in every(entries):
        if e["kind"].startswith("finding."):
            said[e["details"]["evaluation_id"]][(e["kind"], e["details"]["purl"], e["details"].get("advisory_id", ""))] += 1
    last = {}
    for row in sql("SELECT evaluation_id, sbom_id FROM evaluations WHERE state = 'finished' ORDER BY finished_at, evaluation_id"):
        i = row["evaluation_id"]
        wanted = differences(of.get(last.get(row["sbom_id"]), {}), of.get(i, {}))
        if said.pop(i, Counter()) != wanted:
            say(f"evaluation {i} after {last.get(row['sbom_id'])}: its events are not {dict(wanted)}")
        last[row["sbom_id"]] = i
    if said:
        say(f"events of findings of evaluations that did not finish: {list(said)[:3]}")
    open_now = {}
    for tenant, log in entries.items():
        for e in log:
            if not e["kind"].startswith("finding."):
                continue
            key, opens = (tenant, e["resource_id"]), e["kind"] == "finding.opened"
            if opens == open_now.get(key, False):
                say(f"{tenant}: finding {e['resource_id']}: {e['kind']} while it is {'open' if opens else 'not open'}")
            open_now[key] = e["kind"] != "finding.closed"


# ── redacted copies ───────────────────────────────────────────────────────────────────────────────────────────────────
def check_copies(sql, told, entries, say):
    made = Counter(e["details"]["derived_bundle_id"] for e in every(entries) if e["kind"] == "evidence.redacted")
    of = {e["details"]["derived_bundle_id"]: e["details"]["bundle_id"] for e in every(entries) if e["kind"] == "evidence.redacted"}
    snapshots = Counter(e["resource_id"] for e in every(entries) if e["kind"] in ("evidence.snapshot", "evidence.signed", "evidence.sealed"))
    rows = {r["bundle_id"]: r for r in sql("SELECT bundle_id, derived_from, state FROM evidence_snapshots WHERE derived_from IS NOT NULL")}
    for i, row in rows.items():
        if row["state"] != "sealed":
            say(f"copy {i} is {row['state']}")
        if made[i] != 1 or of.get(i) != row["derived_from"] or snapshots[i]:
            say(f"copy {i} of {row['derived_from']}: {made[i]} events evidence.redacted, of {of.get(i)}, {snapshots[i]} of a snapshot")
    if rows.keys() != told["copies"].keys() or any(rows[i]["derived_from"] != b for i, b in told["copies"].items() if i in rows):
        say(f"copies acknowledged {told['copies']}, there are {[(i, r['derived_from']) for i, r in rows.items()]}")
    if made.keys() - rows.keys():
        say(f"events of copies that are not there: {made.keys() - rows.keys()}")


# ── holds, cases, retention ───────────────────────────────────────────────────────────────────────────────────────────
def check_cases(sql, told, entries, say):
    holds = defaultdict(list)
    for r in sql("SELECT tenant_id, case_id, hold_id, placed_by, released_at IS NOT NULL AS released, release_requested_by, released_by FROM evidence_holds"):
        holds[(r["tenant_id"], r["case_id"])].append(r)
    stories = defaultdict(list)
    for e in every(entries):
        if e["kind"].startswith("hold."):
            stories[e["details"]["hold_id"]].append(e["kind"])
    for key, state in told["holds"].items():
        rows = holds.pop(key, [])
        if len(rows) != 1 or rows[0]["released"] != (state == "released"):
            say(f"hold of {key}: acknowledged as {state}, there are {rows}")
    for key, rows in holds.items():
        if any(not r["placed_by"].startswith("user:test") for r in rows):
            say(f"holds of {key} that nobody was told of: {rows}")
    for r in sql("SELECT hold_id, case_id, placed_by, released_at IS NOT NULL AS released, release_requested_by, released_by FROM evidence_holds"):
        ours = [] if r["placed_by"].startswith("user:test") else ["hold.placed"]  # those of the test come without an event
        wanted = ours + ["hold.release_requested", "hold.released"] * r["released"]
        if stories[r["hold_id"]] != wanted and (r["released"] or stories[r["hold_id"]][:1] != ours):
            say(f"hold {r['hold_id']} of {r['case_id']}: the log says {stories[r['hold_id']]} instead of {wanted}")
        if r["released"] and r["release_requested_by"] == r["released_by"]:
            say(f"hold {r['hold_id']} was released by one person")
    closed = Counter((e["tenant_id"], e["resource_id"]) for e in every(entries) if e["kind"] == "case.closed")
    stored = {(r["tenant_id"], r["case_id"]) for r in sql("SELECT tenant_id, case_id FROM evidence_cases WHERE state = 'closed'")}
    if closed != Counter(dict.fromkeys(told["cases"], 1)) or stored != told["cases"].keys():
        say(f"cases closed: acknowledged {sorted(told['cases'])}, rows {sorted(stored)}, events {closed}")
    longer = Counter((e["resource_id"], e["details"]["until"]) for e in every(entries) if e["kind"] == "retention.extended")
    if longer != Counter(dict.fromkeys(told["extended"].items(), 1)):
        say(f"retention: acknowledged {told['extended']}, events {dict(longer)}")
    kept = {r["id"] for r in sql("SELECT case_id AS id FROM evidence_cases WHERE retain_until >= '2080-01-01Z' UNION SELECT bundle_id::text FROM evidence_retention WHERE retain_until >= '2080-01-01Z'")}
    if told["extended"].keys() - kept:
        say(f"acknowledged and not kept so long: {sorted(told['extended'].keys() - kept)}")


# ── principals ────────────────────────────────────────────────────────────────────────────────────────────────────────
STORY = Counter({"principal.created": 1, "scope.granted evaluation:read": 1, "scope.granted policy:read": 1, "scope.revoked policy:read": 1, "principal.changed disabled": 1,
                 "principal.changed active": 1})


def scope_name(text):
    return text.removeprefix("stella:").partition("#")[0]


def check_principals(sql, told, entries, say):
    stories = defaultdict(Counter)
    for e in every(entries):
        if e["resource_type"] == "principal":
            more = e["details"].get("scope", e["details"].get("state", "")) if e["kind"] != "principal.created" else ""
            stories[e["resource_id"]][(e["kind"] + " " + scope_name(more)).strip()] += 1
    rows = {r["principal_id"]: r for r in sql("SELECT principal_id, login, state FROM principals WHERE login LIKE 'svc-%'")}
    scopes = defaultdict(set)
    for r in sql("SELECT principal_id, scope FROM principal_scopes"):
        scopes[r["principal_id"]].add(scope_name(r["scope"]))
    for i, of in told["principals"].items():
        if i not in rows or rows[i]["state"] != "active" or len(scopes[i]) != 2:
            say(f"principal {of['login']}: {rows.get(i)}, scopes {sorted(scopes[i])}")
        if stories[i] != STORY:
            say(f"principal {of['login']}: its events are {dict(stories[i])}")
    for login, n in Counter(r["login"] for r in rows.values()).items():
        if n > 1:
            say(f"{n} principals are called {login}")
    if rows.keys() != told["principals"].keys():
        say(f"principals that nobody was told of: {rows.keys() - told['principals'].keys()}")
    tenants = {r["tenant_id"] for r in sql("SELECT tenant_id FROM tenants WHERE display_name = 'Chaos'")}
    created = Counter(e["resource_id"] for e in every(entries) if e["kind"] == "tenant.created" and e["resource_id"].startswith("t"))
    if tenants != told["tenants"].keys() or created != Counter(told["tenants"]):
        say(f"tenants: acknowledged {sorted(told['tenants'])}, rows {sorted(tenants)}, events {dict(created)}")
    # What was taken from somebody ended the tokens; each end is one event.
    ended = Counter(e["resource_id"] for e in every(entries) if e["kind"] == "token.revoked")
    revoked = {r["token_id"] for r in sql("SELECT token_id FROM tokens WHERE revoked_at IS NOT NULL")}
    if ended != Counter(dict.fromkeys(revoked, 1)):
        say(f"tokens revoked: rows {len(revoked)}, events {sum(ended.values())}")


# ── annotations, VEX ──────────────────────────────────────────────────────────────────────────────────────────────────
def check_said(sql, told, entries, say):
    said = {e["event_id"]: e["details"].get("text") for e in every(entries) if e["kind"] == "annotation.added" and "text" in e["details"]}
    if said != told["annotations"]:
        say(f"annotations: {len(told['annotations'])} acknowledged, {len(said)} in the log, {len(set(said.items()) ^ set(told['annotations'].items()))} differ")
    batches = {r["batch_id"]: r["state"] for r in sql("SELECT batch_id, state FROM ingest_batches WHERE kind = 'vex'")}
    if batches != dict.fromkeys(told["batches"], "ingested"):
        say(f"VEX batches: acknowledged {sorted(told['batches'])}, there are {batches}")
    documents = sql("SELECT count(*) AS n FROM vex_observations")[0]["n"]
    if documents != len(told["batches"]):
        say(f"{documents} VEX documents of {len(told['batches'])} batches with one each")
    events = Counter(e["kind"] for e in every(entries))["vex.ingested"]
    if events != len(told["batches"]):
        say(f"{events} events vex.ingested of {len(told['batches'])} batches")
