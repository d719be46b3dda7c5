// The envelope format: header, key derivation, chunks.
#include "stella/crypto/envelope.h"

#include <algorithm>
#include <optional>

#include "aes_gcm.h"
#include "stella/crypto/kdf.h"

namespace stella::crypto {
namespace {

constexpr std::string_view kMagic = "STELLAE";
constexpr char kVersion = 1;
constexpr int kChunkLog = 16;
constexpr int kMinChunkLog = 12;
constexpr int kMaxChunkLog = 20;
constexpr std::size_t kFixedBytes = kMagic.size() + 2;
constexpr std::size_t kKeyIdBytes = 128;
static_assert(1u << kChunkLog == kEnvelopeChunkBytes);

Error not_an_envelope(std::string_view expected) {
  return Error(base_errors::kMalformed, "not an encrypted object").with("expected", std::string(expected));
}

std::string chunk_nonce(std::uint64_t number, bool last) {
  std::string nonce(kGcmNonceBytes, '\0');
  for (int i = 0; i < 8; ++i) nonce[10 - static_cast<std::size_t>(i)] = static_cast<char>(number >> (8 * i));
  nonce[11] = last ? 1 : 0;
  return nonce;
}

Result<AesGcm> chunk_cipher(const SecretBytes& data_key, std::string_view header) {
  std::string key = hkdf_sha256(data_key.view(), {}, std::string("stella/envelope/v1\0", 19).append(header), kGcmKeyBytes);
  auto cipher = AesGcm::create(key);
  erase_secret(key);
  return cipher;
}

void append_sized(std::string& out, std::string_view text) {
  out += static_cast<char>(text.size() >> 8);
  out += static_cast<char>(text.size() & 0xff);
  out += text;
}

struct Header {
  int chunk_log = 0;
  std::string key_id;
  std::string wrapped;
  std::size_t size = 0;  // bytes it takes
};

// Absent where `bytes` is too short to say.
Result<std::optional<std::string_view>> take_sized(std::string_view bytes, std::size_t& at, std::size_t most, std::string_view what) {
  if (bytes.size() < at + 2) return std::nullopt;
  const std::size_t size = static_cast<std::size_t>(static_cast<unsigned char>(bytes[at])) << 8 | static_cast<unsigned char>(bytes[at + 1]);
  if (size == 0 || size > most) return not_an_envelope(what);
  if (bytes.size() < at + 2 + size) return std::nullopt;
  const auto text = bytes.substr(at + 2, size);
  at += 2 + size;
  return std::optional(text);
}

// The header at the beginning of `bytes`; absent where more bytes are needed. What can be refused early is.
Result<std::optional<Header>> parse_header(std::string_view bytes) {
  const auto magic = bytes.substr(0, kMagic.size());
  if (magic != kMagic.substr(0, magic.size())) return not_an_envelope("STELLAE");
  if (bytes.size() < kFixedBytes) return std::nullopt;
  if (bytes[kMagic.size()] != kVersion) return not_an_envelope("version 1; this one was written by a newer release");
  Header out;
  out.chunk_log = static_cast<unsigned char>(bytes[kMagic.size() + 1]);
  if (out.chunk_log < kMinChunkLog || out.chunk_log > kMaxChunkLog) return not_an_envelope("chunks of 4 KiB to 1 MiB");
  std::size_t at = kFixedBytes;
  const auto key_id = STELLA_TRY(take_sized(bytes, at, kKeyIdBytes, "a key id of 1 to 128 bytes"));
  if (!key_id) return std::nullopt;
  if (!valid_wrapping_key_id(*key_id)) return not_an_envelope("a key id");
  out.key_id = *key_id;
  const auto wrapped = STELLA_TRY(take_sized(bytes, at, kWrappedKeyBytes, "a wrapped key of 1 to 1024 bytes"));
  if (!wrapped) return std::nullopt;
  out.wrapped = *wrapped;
  out.size = at;
  return std::optional(std::move(out));
}

// Appends to `buffer` what fits under `limit` and takes it from `rest`.
void fill(std::string& buffer, std::string_view& rest, std::size_t limit) {
  const std::size_t n = std::min(rest.size(), limit - buffer.size());
  buffer.append(rest.substr(0, n));
  rest.remove_prefix(n);
}

EnvelopeSink into(std::string& out) {
  return [&out](std::string_view piece) -> Result<void> {
    out += piece;
    return {};
  };
}

}  // namespace

// ---- encryption

struct EnvelopeEncryptor::State {
  AesGcm cipher;
  EnvelopeSink sink;
  std::uint64_t number = 0;
  std::string plain;  // of the chunk under way: full chunks wait, for they may be the last
  std::string sealed;
  bool finished = false;

  ~State() { erase_secret(plain); }
  Result<void> emit(bool last) {
    sealed.clear();
    STELLA_TRY_VOID(cipher.seal(chunk_nonce(number++, last), {}, plain, sealed));
    plain.clear();
    return sink(sealed);
  }
};

EnvelopeEncryptor::EnvelopeEncryptor(std::unique_ptr<State> state) : state_(std::move(state)) {}
EnvelopeEncryptor::EnvelopeEncryptor(EnvelopeEncryptor&&) noexcept = default;
EnvelopeEncryptor& EnvelopeEncryptor::operator=(EnvelopeEncryptor&&) noexcept = default;
EnvelopeEncryptor::~EnvelopeEncryptor() = default;

Result<EnvelopeEncryptor> EnvelopeEncryptor::start(const Kms& kms, std::string_view key_id, std::string_view context, EnvelopeSink sink) {
  if (!valid_wrapping_key_id(key_id)) return Error(base_errors::kInvalid, "not a key id").with("field", "key_id");
  const SecretBytes data_key = SecretBytes::random(kDataKeyBytes);
  const std::string wrapped = STELLA_TRY(kms.wrap(key_id, data_key.view(), context));
  if (wrapped.empty() || wrapped.size() > kWrappedKeyBytes) return Error(base_errors::kInternal, "a wrapped key has 1 to 1024 bytes");
  std::string header(kMagic);
  header += kVersion;
  header += static_cast<char>(kChunkLog);
  append_sized(header, key_id);
  append_sized(header, wrapped);
  AesGcm cipher = STELLA_TRY(chunk_cipher(data_key, header));
  STELLA_TRY_VOID(sink(header));
  auto state = std::make_unique<State>(std::move(cipher), std::move(sink));
  state->plain.reserve(kEnvelopeChunkBytes);
  state->sealed.reserve(kEnvelopeChunkBytes + kGcmTagBytes);
  return EnvelopeEncryptor(std::move(state));
}

Result<void> EnvelopeEncryptor::update(std::string_view plain) {
  if (state_->finished) return Error(base_errors::kInternal, "the envelope is finished");
  while (!plain.empty()) {
    if (state_->plain.size() == kEnvelopeChunkBytes) STELLA_TRY_VOID(state_->emit(false));
    fill(state_->plain, plain, kEnvelopeChunkBytes);
  }
  return {};
}

Result<void> EnvelopeEncryptor::finish() {
  if (state_->finished) return Error(base_errors::kInternal, "the envelope is finished");
  state_->finished = true;
  return state_->emit(true);
}

// ---- decryption

struct EnvelopeDecryptor::State {
  const Kms& kms;
  std::string context;
  EnvelopeSink sink;
  std::optional<AesGcm> cipher{};  // once the header is read
  std::size_t chunk_bytes = 0;     // sealed
  std::uint64_t number = 0;
  std::string buffer{};            // the header, then the chunk under way: a full one waits, for it may be the last
  std::string plain{};
  bool over = false;               // finished or failed

  ~State() { erase_secret(plain); }
  // Reads the header where `buffer` holds all of it, and leaves in `buffer` what follows.
  Result<void> read_header() {
    const auto header = STELLA_TRY(parse_header(buffer));
    if (!header) return {};
    const SecretBytes data_key = STELLA_TRY(kms.unwrap(header->key_id, header->wrapped, context));
    if (data_key.size() != kDataKeyBytes) return Error(base_errors::kInvalid, "the wrapped key has another size").with("key", header->key_id);
    cipher = STELLA_TRY(chunk_cipher(data_key, std::string_view(buffer).substr(0, header->size)));
    chunk_bytes = (std::size_t{1} << header->chunk_log) + kGcmTagBytes;
    buffer.erase(0, header->size);
    return {};
  }
  Result<void> open_chunk(bool last) {
    plain.clear();
    // An empty chunk is the whole of an empty object, never the end of another.
    const bool shape = buffer.size() > kGcmTagBytes || (last && number == 0);
    if (!shape || !cipher->open(chunk_nonce(number, last), {}, buffer, plain))
      return Error(base_errors::kInvalid, "the encrypted object is altered, cut off or in another order").with("chunk", number);
    ++number;
    buffer.clear();
    return plain.empty() ? Result<void>() : sink(plain);
  }
  Result<void> take(std::string_view sealed) {
    constexpr std::size_t kLongestHeader = kFixedBytes + 2 + kKeyIdBytes + 2 + kWrappedKeyBytes;
    static_assert(kLongestHeader < (1u << kMinChunkLog));  // what follows a header fits into a chunk
    while (!sealed.empty()) {
      if (!cipher) {
        fill(buffer, sealed, kLongestHeader);
        STELLA_TRY_VOID(read_header());
      } else {
        if (buffer.size() == chunk_bytes) STELLA_TRY_VOID(open_chunk(false));
        fill(buffer, sealed, chunk_bytes);
      }
    }
    return {};
  }
};

EnvelopeDecryptor::EnvelopeDecryptor(const Kms& kms, std::string_view context, EnvelopeSink sink)
    : state_(new State{.kms = kms, .context = std::string(context), .sink = std::move(sink)}) {}
EnvelopeDecryptor::EnvelopeDecryptor(EnvelopeDecryptor&&) noexcept = default;
EnvelopeDecryptor& EnvelopeDecryptor::operator=(EnvelopeDecryptor&&) noexcept = default;
EnvelopeDecryptor::~EnvelopeDecryptor() = default;

Result<void> EnvelopeDecryptor::update(std::string_view sealed) {
  if (state_->over) return Error(base_errors::kInternal, "the envelope is read to its end, or failed");
  auto taken = state_->take(sealed);
  if (!taken) state_->over = true;
  return taken;
}

Result<void> EnvelopeDecryptor::finish() {
  if (state_->over) return Error(base_errors::kInternal, "the envelope is read to its end, or failed");
  state_->over = true;
  if (!state_->cipher) return not_an_envelope("a whole header");
  return state_->open_chunk(true);
}

// ---- whole objects

Result<std::string> envelope_seal(const Kms& kms, std::string_view key_id, std::string_view context, std::string_view plain) {
  std::string out;
  EnvelopeEncryptor encryptor = STELLA_TRY(EnvelopeEncryptor::start(kms, key_id, context, into(out)));
  STELLA_TRY_VOID(encryptor.update(plain));
  STELLA_TRY_VOID(encryptor.finish());
  return out;
}

Result<std::string> envelope_open(const Kms& kms, std::string_view context, std::string_view sealed) {
  std::string out;
  EnvelopeDecryptor decryptor(kms, context, into(out));
  STELLA_TRY_VOID(decryptor.update(sealed));
  STELLA_TRY_VOID(decryptor.finish());
  return out;
}

Result<std::string> envelope_key_id(std::string_view sealed) {
  if (!is_envelope(sealed)) return not_an_envelope("STELLAE");
  // Parsed with a wrapped key that may not be there whole.
  if (sealed.size() < kFixedBytes || sealed[kMagic.size()] != kVersion) return not_an_envelope("version 1");
  std::size_t at = kFixedBytes;
  const auto key_id = STELLA_TRY(take_sized(sealed, at, kKeyIdBytes, "a key id of 1 to 128 bytes"));
  if (!key_id || !valid_wrapping_key_id(*key_id)) return not_an_envelope("a key id");
  return std::string(*key_id);
}

bool is_envelope(std::string_view bytes) { return bytes.starts_with(kMagic); }

}  // namespace stella::crypto
