// What the tests of this module share: a sealed bundle in a directory of its own, ways to change it, and a shell.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "stella/crypto/keys.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/bundle_writer.h"

namespace stella::evidence {

struct ShellResult {
  int exit_code = -1;
  std::string output;  // both streams
};

class BundleTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  std::string path(std::string_view name) const { return dir_ + "/" + std::string(name); }
  void write(std::string_view name, std::string_view bytes) const;
  ShellResult shell(const std::string& command) const;

  // Files of an evaluation as a job would pack them.
  static std::vector<LeafFile> evaluation_files();
  static SealFacts facts();
  // payload.tar and items on disk, then bundle.tgz; signed by key_ (and `second` where given).
  SealedBundle seal(std::vector<LeafFile> files, const crypto::Signer* second = nullptr);

  using Members = std::map<std::string, std::string>;
  Members members(const std::string& tgz) const;
  // Packs members as tar + gzip, in order.
  std::string pack(const Members& members) const;
  // Rewrites the two checksum lists so that they fit the other members.
  static void fix_manifests(Members& members);

  Verdict verify(const std::string& tgz) const;
  Result<Verdict> try_verify(const std::string& tgz) const;
  // Exit code of the published verify.sh over an archive on disk.
  ShellResult verify_with_shell(const std::string& tgz_name) const;

  bool seal_names_attestations_ = false;
  // custody/events.jsonl, and where each of its lines that the seal names is in the log; empty: the seal names none.
  std::string custody_events_ = "{\"event_id\":\"0193f0a2-7d5c-7000-8000-00000000000c\",\"kind\":\"sbom.received\"}\n";
  std::vector<std::uint64_t> sealed_entries_ = {};
  std::string dir_;
  const crypto::KeyPair key_ = crypto::KeyPair::generate().value();
  const std::vector<crypto::PublicKey> trust_ = {key_.public_key()};
  const std::string bundle_key_ = bundle_key("tenant secret", R"({"case_id":"CASE-1"})");
};

}  // namespace stella::evidence
