// SHA-256, HMAC and file digests against published vectors and against each other.
#include "stella/crypto/digest.h"

#include <unistd.h>

#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/base/json.h"
#include "stella/crypto/digest_batch.h"
#include "stella/testing/shared_data.h"

namespace stella::crypto {
namespace {

TEST(Digest, PublishedValues) {
  EXPECT_EQ(sha256("").hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc").hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").hex(),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Digest, HasherIsReusableAndSplitsDoNotMatter) {
  const std::string text(1000, 'x');
  Hasher hasher;
  for (const std::size_t cut : {0u, 1u, 63u, 64u, 65u, 1000u}) {
    hasher.update(std::string_view(text).substr(0, cut));
    hasher.update(std::string_view(text).substr(cut));
    EXPECT_EQ(hasher.finish(), sha256(text)) << cut;
    EXPECT_EQ(sha256(std::string_view(text).substr(0, cut), std::string_view(text).substr(cut)), sha256(text)) << cut;
  }
}

TEST(Digest, HmacVectors) {
  const auto path = STELLA_SHARED_OR_SKIP("vectors/wycheproof/hmac_sha256_test.json");
  const auto doc = json::parse(testing::slurp(path));
  ASSERT_TRUE(doc.has_value());
  std::size_t seen = 0;
  for (const auto& group : doc->items("testGroups")) {
    const std::size_t tag_bytes = static_cast<std::size_t>(group.integer("tagSize")) / 8;
    for (const auto& test : group.items("tests")) {
      const auto key = hex_decode(test.str("key"));
      const auto msg = hex_decode(test.str("msg"));
      const auto tag = hex_decode(test.str("tag"));
      ASSERT_TRUE(key && msg && tag);
      const Sha256 mac = hmac_sha256(*key, *msg);
      EXPECT_EQ(equal_constant_time(mac.view().substr(0, tag_bytes), *tag), test.str("result") == "valid") << test.integer("tcId");
      ++seen;
    }
  }
  EXPECT_EQ(seen, static_cast<std::size_t>(doc->integer("numberOfTests")));
}

TEST(Digest, FileDigestCountsAndRefuses) {
  const std::string path = ::testing::TempDir() + "/digest_test_" + std::to_string(::getpid());
  const std::string bytes(600'001, 'q');
  ASSERT_TRUE(write_file_durable(path, bytes).has_value());
  const auto digest = sha256_file(path);
  ASSERT_TRUE(digest.has_value());
  EXPECT_EQ(digest->size, bytes.size());
  EXPECT_EQ(digest->sha256, sha256(bytes));
  ::unlink(path.c_str());
  const auto missing = sha256_file(path);
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code(), base_errors::kNotFound);
}

TEST(DigestBatch, EverySizeAndCountEqualsTheStream) {
  std::string items(40 * 301, '\0');
  for (std::size_t i = 0; i < items.size(); ++i) items[i] = static_cast<char>(i * 131 + i / 251);
  const auto* bytes = reinterpret_cast<const unsigned char*>(items.data());
  for (std::size_t size = 0; size <= 300; ++size) {
    for (const std::size_t count : {0u, 1u, 2u, 7u}) {
      std::vector<Sha256> fast(count), portable(count);
      sha256_prefixed(0x01, bytes, size, count, fast.data());
      detail::sha256_prefixed_portable(0x01, bytes, size, count, portable.data());
      ASSERT_EQ(fast, portable) << size << " x " << count;
      for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(fast[i], sha256(std::string("\x01") + items.substr(i * size, size)));
    }
  }
}

TEST(DigestBatch, OutputMayOverwriteItsItems) {
  std::vector<Sha256> level(9);
  for (std::size_t i = 0; i < level.size(); ++i) level[i] = sha256(std::to_string(i));
  const std::vector<Sha256> before = level;
  sha256_prefixed(0x01, level[0].bytes().data(), 64, 4, level.data());
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_EQ(level[i], sha256("\x01" + std::string(before[2 * i].view()) + std::string(before[2 * i + 1].view()))) << i;
}

TEST(Digest, EqualConstantTime) {
  EXPECT_TRUE(equal_constant_time("", ""));
  EXPECT_TRUE(equal_constant_time("abc", "abc"));
  EXPECT_FALSE(equal_constant_time("abc", "abd"));
  EXPECT_FALSE(equal_constant_time("abc", "abcd"));
}

}  // namespace
}  // namespace stella::crypto
