// The texts of verify.sh and VERIFY.md.
#include "stella/evidence/format/verify_script.h"

namespace stella::evidence {

std::string_view verify_sh() {
  return R"SH(#!/bin/sh
# Checks a StellaOps evidence bundle with sh, openssl, sha256sum, tar and awk: no network, none of StellaOps' software.
#
#   sh verify.sh KEY.pub... [BUNDLE]  BUNDLE: the .tgz file, or the directory it was unpacked into (default: this directory)
#
# Of several keys (an installation has had one before each rotation) one must have signed. An argument after the first is a key if it is
# called *.pub or *.pem: by its name, so that no bundle, whatever it holds, makes itself a key that is trusted.
# STELLA_VERIFY_MAX_BYTES: what an archive may unpack to, 64 GiB where it is not set.
# Exit: 0 all that is checked here holds, 1 something does not (the last line says what), 2 there was nothing to check with.
# Use the copy that is published with the documentation: whoever changes a bundle can change the verify.sh inside of it.
set -u
LC_ALL=C
export LC_ALL
unset CDPATH TAR_OPTIONS GZIP  # whoever calls may have set them: another directory, other options

fail() { printf 'FAIL  %s\n' "$1"; exit 1; }
stop() { printf 'NOT CHECKED  %s\n' "$1" >&2; exit 2; }
pass() { printf 'PASS  %s\n' "$1"; }

# 1. What to trust, and the tools.
usage='usage: sh verify.sh KEY.pub... [BUNDLE]   (the keys must come from a source that you trust)'
[ "$#" -ge 1 ] || stop "$usage"
for tool in openssl sha256sum tar gzip head awk sed grep sort uniq tr wc find cmp mktemp xargs; do
  command -v "$tool" >/dev/null 2>&1 || stop "this machine has no $tool"
done
tmp=$(mktemp -d) || stop 'no temporary directory'
trap 'rm -rf "$tmp"' EXIT
trap 'exit 2' HUP INT TERM
bundle=
keys=0
for argument in "$@"; do
  [ -z "$bundle" ] || stop "the bundle must be the last argument, after its keys (*.pub, *.pem): $bundle"
  case $argument in
    *.pub | *.pem) ;;
    *) if [ "$keys" -gt 0 ]; then bundle=$argument; continue; fi ;;
  esac
  keys=$((keys + 1))
  openssl pkey -pubin -in "$argument" -out "$tmp/key.$keys" 2>/dev/null || stop "not a public key: $argument"
  printf '%s\n' "$argument" >"$tmp/name.$keys"
done
bundle=${bundle:-.}
case $bundle in /*) ;; *) bundle=./$bundle ;; esac

# 2. The files. An archive is looked through before it is unpacked; what unpacks to more than this many bytes is not.
max=${STELLA_VERIFY_MAX_BYTES:-68719476736}
if [ -f "$bundle" ]; then
  size=$(gzip -dc "$bundle" 2>/dev/null | head -c "$((max + 1))" | wc -c)
  [ "$size" -le "$max" ] || fail "the archive unpacks to more than $max bytes (STELLA_VERIFY_MAX_BYTES): $bundle"
  tar -tzf "$bundle" >"$tmp/names" 2>/dev/null || fail "not a gzipped tar archive: $bundle"
  if grep -Ev '^[A-Za-z0-9._][A-Za-z0-9._/-]*$' "$tmp/names" >/dev/null; then fail 'the archive holds a name that no bundle has'; fi
  if grep -E '(^|/)\.\.?(/|$)' "$tmp/names" >/dev/null; then fail 'the archive holds a path with dots'; fi
  tar -tvzf "$bundle" >"$tmp/types" 2>/dev/null || fail "not a gzipped tar archive: $bundle"
  if grep -v '^[-d]' "$tmp/types" >/dev/null; then fail 'the archive holds a link or a device'; fi
  tr A-Z a-z <"$tmp/names" >"$tmp/lower" && sort -o "$tmp/lower" "$tmp/lower" && uniq -d "$tmp/lower" >"$tmp/twice" || fail 'cannot look through the archive'
  [ ! -s "$tmp/twice" ] || fail "the archive holds a file twice, or two whose names differ in letter case alone: $(head -n 1 "$tmp/twice")"
  mkdir "$tmp/bundle" || stop 'no temporary directory'
  tar -xzf "$bundle" -C "$tmp/bundle" 2>/dev/null || fail "the archive is damaged: $bundle"
  bundle=$tmp/bundle
fi
cd "$bundle" 2>/dev/null || stop "no such bundle: $bundle"
for file in bagit.txt manifest-sha256.txt tagmanifest-sha256.txt evidence/seal.json evidence/items.jsonl evidence/root.merkle attest/seal.dsse.json; do
  [ -f "$file" ] || fail "no bundle, or a part of it was removed: $file is missing"
done
find . ! -type f ! -type d >"$tmp/odd"
[ ! -s "$tmp/odd" ] || fail "neither file nor directory: $(head -n 1 "$tmp/odd")"
# A newline in a name, too: below, each line is a name.
find . -name '*[!A-Za-z0-9._-]*' >"$tmp/odd" || fail 'cannot look through the bundle'
[ ! -s "$tmp/odd" ] || fail 'a file has a name that no bundle has'
find . -type f | sed 's|^\./||' | sort >"$tmp/files"
if grep -Ev '^[A-Za-z0-9._/-]+$' "$tmp/files" >/dev/null; then fail 'a file has a name that no bundle has'; fi

# 3. The bag: every file is in one of the two lists, and has the digest that stands there.
for list in manifest-sha256.txt tagmanifest-sha256.txt; do
  if grep -Ev '^[0-9a-f]{64}  [A-Za-z0-9._/-]+$' "$list" >/dev/null; then fail "$list is malformed"; fi
  [ -s "$list" ] || fail "$list is empty"
  sha256sum -c "$list" >"$tmp/out" 2>/dev/null || fail "$list: $(grep -v ': OK$' "$tmp/out" | head -n 1)"
done
{ awk '{print $2}' manifest-sha256.txt tagmanifest-sha256.txt; echo tagmanifest-sha256.txt; } | sort >"$tmp/listed"
uniq -d "$tmp/listed" >"$tmp/twice" || fail 'cannot look through the checksum lists'
[ ! -s "$tmp/twice" ] || fail "a file stands twice in the checksum lists: $(head -n 1 "$tmp/twice")"
cmp -s "$tmp/files" "$tmp/listed" || fail "files and checksum lists differ: $(diff "$tmp/listed" "$tmp/files" | grep '^[<>]' | head -n 1)"
pass "bag: $(awk 'END {print NR}' "$tmp/files") files, each as the checksum lists say"

# 4. The items: one line for each leaf, numbered from 0, in the order of their paths.
hex='[0-9a-f]\{64\}'
item='{"media_type":"[A-Za-z0-9.+_/;= -]*","path":"\([A-Za-z0-9._/-]*\)","role":"[a-z-]*","sha256":"\('$hex'\)","size":\([0-9]\{1,\}\)}'
sed -n \
  -e 's#^{"commit":"\('$hex'\)","i":\([0-9]\{1,\}\),"item":\('"$item"'\),"salt":"\('$hex'\)"}$#D|\2|\1|\7|\5|\6|\4|\3#p' \
  -e 's#^{"commit":"\('$hex'\)","i":\([0-9]\{1,\}\)}$#W|\2|\1#p' evidence/items.jsonl >"$tmp/items"
awk 'END {print NR}' evidence/items.jsonl >"$tmp/a"
awk -F'|' '$2 != NR - 1 || ($1 == "D" && $7 "" <= last "") {exit 1} $1 == "D" {last = $7} END {print NR}' "$tmp/items" >"$tmp/b" ||
  fail 'items.jsonl: lines are missing, doubled or out of order'
cmp -s "$tmp/a" "$tmp/b" || fail 'items.jsonl holds a line that is no item'
leaves=$(cat "$tmp/b")
[ "$leaves" -gt 0 ] || fail 'items.jsonl is empty'
withheld=$(awk -F'|' '$1 == "W" {n++} END {print n + 0}' "$tmp/items")

awk -F'|' '$1 == "D" {print $5 "  " $7}' "$tmp/items" >"$tmp/sums"
if [ -s "$tmp/sums" ]; then
  sha256sum -c "$tmp/sums" >"$tmp/out" 2>/dev/null || fail "not the file that was sealed: $(grep -v ': OK$' "$tmp/out" | head -n 1)"
  awk '{print $2}' "$tmp/sums" | xargs wc -c | awk '$2 != "total" {print $1 "|" $2}' >"$tmp/sizes"
  awk -F'|' '$1 == "D" {print $6 "|" $7}' "$tmp/items" >"$tmp/sizes.sealed"
  cmp -s "$tmp/sizes" "$tmp/sizes.sealed" || fail 'a file has another size than was sealed'
fi
awk -F'|' '$1 == "D" {print $7}' "$tmp/items" | sort >"$tmp/leaf.items"
grep -Ev '^(bagit\.txt|bag-info\.txt|(tag)?manifest-sha256\.txt|evidence/(seal\.json|items\.jsonl|root\.merkle))$' "$tmp/files" |
  grep -Ev '^(attest/[^/]+\.json|time/([^/]+\.tsr|chain\.pem)|custody/((kb-|keys-)?(events\.jsonl|checkpoint)|keys\.jsonl|list-[0-9a-f]{64}\.json|[^/]+\.tlog-proof))$' |
  grep -Ev '^(redaction/[^/]+\.dsse\.json|trust-hints/[^/]+)$' >"$tmp/leaf.files"
cmp -s "$tmp/leaf.items" "$tmp/leaf.files" ||
  fail "a file that nothing vouches for, or one that is missing: $(diff "$tmp/leaf.items" "$tmp/leaf.files" | grep '^[<>]' | head -n 1)"
pass "files: $(awk 'END {print NR}' "$tmp/leaf.items") disclosed, $withheld withheld, each with the digest and size of its item"

# 5. Commitments and tree. Shell printf writes each hash input to a file of its own; one sha256sum call hashes a level.
#    stdin: lines "hex" or "hex|text"; stdout: SHA-256 of those bytes (and that text), a line each.
mkdir "$tmp/h" || stop 'no temporary directory'
hash_lines() {
  awk -F'|' '
    BEGIN { for (i = 0; i < 16; i++) value[substr("0123456789abcdef", i + 1, 1)] = i }
    {
      octal = ""
      for (i = 1; i < length($1); i += 2) octal = octal sprintf("\\%03o", value[substr($1, i, 1)] * 16 + value[substr($1, i + 1, 1)])
      printf "printf '\''%s%%s'\'' '\''%s'\'' >\"$tmp/h/%09d\"\n", octal, $2, NR
    }' >"$tmp/script" || return 1
  rm -rf "$tmp/h" && mkdir "$tmp/h" && . "$tmp/script" || return 1
  (cd "$tmp/h" && find . -type f | sort | xargs sha256sum) >"$tmp/hashed" || return 1
  awk '{print $1}' "$tmp/hashed"
}
awk -F'|' '$1 == "D" {print $4 "|" $8}' "$tmp/items" >"$tmp/in"
if [ -s "$tmp/in" ]; then
  hash_lines <"$tmp/in" >"$tmp/commits" || fail 'cannot compute the commitments'
  awk -F'|' '$1 == "D" {print $3}' "$tmp/items" >"$tmp/commits.sealed"
  cmp -s "$tmp/commits" "$tmp/commits.sealed" || fail 'a salt or an item does not belong to its commitment'
fi
awk -F'|' '{print "00" $3}' "$tmp/items" >"$tmp/in"
hash_lines <"$tmp/in" >"$tmp/level" || fail 'cannot compute the leaves'
while [ "$(awk 'END {print NR}' "$tmp/level")" -gt 1 ]; do
  awk 'NR % 2 == 1 {left = $0; odd = 1; next} {print "01" left $0; odd = 0} END {if (odd) print left >"'"$tmp/odd.last"'"}' "$tmp/level" >"$tmp/in"
  hash_lines <"$tmp/in" >"$tmp/next" || fail 'cannot compute the tree'
  if [ -f "$tmp/odd.last" ]; then cat "$tmp/odd.last" >>"$tmp/next"; rm -f "$tmp/odd.last"; fi
  mv "$tmp/next" "$tmp/level"
done
root=$(cat "$tmp/level")
printf '%s\n%s\n' "$leaves" "$root" >"$tmp/root"
cmp -s "$tmp/root" evidence/root.merkle || fail 'the Merkle root over the items is not the one in evidence/root.merkle'
pass "tree: $leaves leaves, root $root"

# 6. The seal names that root and that file.
seal=$(cat evidence/seal.json)
digest=$(sha256sum evidence/root.merkle | awk '{print $1}')
case $seal in
  '{"_type":"https://in-toto.io/Statement/v1","predicate":{'*'},"predicateType":"https://stellaops.dev/evidence-seal/v1","subject":[{"digest":{"sha256":"'"$digest"'"},"name":"evidence/root.merkle"}]}') ;;
  *) fail 'evidence/seal.json is no seal of this evidence/root.merkle' ;;
esac
case $seal in
  *',"tree":{"algorithm":"rfc6962-sha256","root":"'"$root"'","size":'"$leaves"'}'*) ;;
  *) fail 'evidence/seal.json names another tree' ;;
esac
pass 'seal: names this root'

# 7. The signature: DSSE, over "DSSEv1 28 application/vnd.in-toto+json LENGTH SEAL".
payload=$(openssl base64 -A -in evidence/seal.json) || fail 'cannot encode the seal'
envelope=$(cat attest/seal.dsse.json)
case $envelope in
  '{"payload":"'"$payload"'","payloadType":"application/vnd.in-toto+json","signatures":['*) ;;
  *) fail 'attest/seal.dsse.json signs something else than evidence/seal.json' ;;
esac
printf 'DSSEv1 28 application/vnd.in-toto+json %d ' "$(wc -c <evidence/seal.json)" >"$tmp/pae"
cat evidence/seal.json >>"$tmp/pae"
printf '%s\n' "$envelope" | tr ',{}' '\n\n\n' | sed -n 's|^"sig":"\([A-Za-z0-9+/=]*\)"$|\1|p' >"$tmp/sigs"
verified=
while read -r sig; do
  printf '%s' "$sig" | openssl base64 -d -A >"$tmp/sig" 2>/dev/null || continue
  for key in "$tmp"/key.*; do
    if openssl dgst -sha256 -verify "$key" -signature "$tmp/sig" "$tmp/pae" >/dev/null 2>&1; then verified=$key; fi
  done
done <"$tmp/sigs"
if [ -z "$verified" ]; then
  [ "$keys" -gt 1 ] || fail 'the seal is not signed by this key'
  fail "the seal is not signed by any of these $keys keys"
fi
pass "signature: the seal is signed by the key that you gave ($(sha256sum "$verified" | cut -c 1-16), $(cat "$tmp/name.${verified##*.}"))"

# 8. The events that the seal names: the lines that a log's list of events begins with.
sealed_events() {
  said=$(printf '%s\n' "$seal" | sed -n 's/.*"'"$1"'":{"entries":"[0-9,-]*","events":\([0-9]*\),"kinds":{[^{}]*},"lines_sha256":"\([0-9a-f]*\)"}.*/\1 \2/p')
  [ -n "$said" ] || return 0
  [ -f "$2" ] || fail "the seal names ${said%% *} events, and $2 is missing"
  [ "$(head -n "${said%% *}" "$2" | sha256sum | cut -c 1-64)" = "${said##* }" ] || fail "$2: events that the seal names were left out, added or changed"
  pass "events: the ${said%% *} that the seal names are in $2"
}
case $seal in
  *',"custody":{'*)
    sealed_events tenant custody/events.jsonl
    sealed_events knowledge_base custody/kb-events.jsonl
    ;;
  *) printf '%s\n' 'NOT CHECKED  whether events were left out of custody/: this seal does not name them' ;;
esac

printf '%s\n' 'NOT CHECKED  attestations (attest/ beside the seal), redactions, time, tenant log, chain of custody, key status, retention: see `stella forensic verify`'
[ ! -d trust-hints ] || printf '%s\n' 'UNTRUSTED    trust-hints: hints of the sender; no key was taken from there'
[ "$withheld" -eq 0 ] || printf 'NOTE  %s items are withheld; whether somebody was allowed to is not checked here\n' "$withheld"
exit 0
)SH";
}

std::string_view verify_md() {
  return R"MD(# How to verify this bundle

You need the public key of the installation that sealed it, from a source that you trust: not from this bundle. The files in
`trust-hints/`, where present, are hints of the sender and prove nothing.

## With the shell

    sh verify.sh KEY.pub bundle.tgz
    sh verify.sh keys/*.pub bundle.tgz

The second form takes all keys that the installation has had: one of them must have signed. That a key was still good when it signed is not
checked here: give only keys that you trust for this bundle, and ask `stella forensic verify` for the status of the key.

Use the copy of `verify.sh` that is published with the documentation of StellaOps (`stella forensic verify-script` prints it too): whoever
changes a bundle can change the script inside of it. It needs `openssl`, `sha256sum`, `tar` and `awk`, no network, and none of our software.
Exit 0: everything it checks holds. 1: something does not, and the last line says what. 2: there was nothing to check with.

## With the command line tool

    stella forensic verify bundle.tgz --trust KEY.pub
    stella forensic replay bundle.tgz      (bundles of evaluations)

`verify` states nine dimensions and also says what was not checked. `replay` runs the same pure functions on the inputs in `data/inputs/` and
compares the digests of the outputs.

## With cosign

    cosign verify-blob-attestation --key KEY.pub --bundle attest/seal.*.sigstore.json \
      --type https://stellaops.dev/evidence-seal/v1 --insecure-ignore-tlog=true evidence/root.merkle

## By hand

1. `sha256sum -c manifest-sha256.txt tagmanifest-sha256.txt`: the bag is whole (BagIt 1.0). This is convenience; the trust comes from 2 to 5.
2. `evidence/items.jsonl` has a line for each file, numbered from 0 in the order of the paths: `item` (path, size, SHA-256 …), `salt`, `commit`.
   `commit` = SHA-256(salt bytes, then the bytes of `item` as they stand). A withheld file has only its `commit`.
3. Leaf = SHA-256(0x00, commit). Node = SHA-256(0x01, left, right); an odd last one moves up (RFC 6962). The root stands in `evidence/root.merkle`.
4. `evidence/seal.json` is an in-toto statement whose subject is `evidence/root.merkle`, and repeats size and root.
5. `attest/seal.dsse.json` is a DSSE envelope over exactly those bytes: ECDSA P-256 with SHA-256 over
   `DSSEv1 28 application/vnd.in-toto+json <length> <seal.json>`.
6. `custody` in `evidence/seal.json` names the events that were in the logs when it was signed: `head -n EVENTS custody/events.jsonl | sha256sum` gives
   `lines_sha256` of `tenant`; `custody/kb-events.jsonl` that of `knowledge_base`, where there is one. Later events follow behind them.

Every file is covered by 2, or is one of: the four bag files, `evidence/`, `attest/`, `time/`, `custody/`, `redaction/`, `trust-hints/`. Anything
else in the bundle was put there later. Of these, the steps above and `verify.sh` check the bag files, `evidence/` and `attest/seal.dsse.json` alone,
and that no event is gone from `custody/` which the seal names. They say nothing of the other statements in `attest/` (provenance, VSA, SVR, vulns:
each is signed on its own, and the seal names all of them in `attestations`), of `redaction/` (who allowed that files are withheld), `time/` and what
`custody/` proves: `stella forensic verify` checks those. Files in `trust-hints/` are of the sender, and nobody checks them.

## What a good result does not say

It does not say that the inputs were true when they were received, that nothing happened which was never recorded, or when the seal was made
(`sealed_at` is the clock of the installation, unless `time/` holds a timestamp). Whoever holds the signing key can sign something else.
)MD";
}

}  // namespace stella::evidence
