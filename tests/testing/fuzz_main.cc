// Runs a libFuzzer entry with GCC: coverage-guided mutation of a corpus for some seconds. (clang 19 and the vector of GCC 12's library cannot
// compile our recursive types, so libFuzzer itself is out of reach.)
//
//   PROGRAM SECONDS CORPUS_DIR FINDINGS_DIR [SEED]     inputs that reach new code are kept in CORPUS_DIR; what crashed or hung, in FINDINGS_DIR
//   PROGRAM RUNSx   CORPUS_DIR FINDINGS_DIR [SEED]     so many mutations, and CORPUS_DIR is only read: what `make test` does, without sanitizers
#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace {

constexpr std::size_t kMapBits = 16;
constexpr std::size_t kMaxBytes = 64 << 10;
constexpr unsigned kHangSeconds = 10;

// Counted in powers of two, as AFL does: a loop that runs longer is news, one round more is not.
unsigned char g_hits[1u << kMapBits];
unsigned char g_seen[1u << kMapBits];
std::string g_input;
std::string g_findings;
long g_runs = 0;

// Without fsync: thousands of inputs are kept, and a lost one is found again.
bool keep(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return false;
  std::fwrite(g_input.data(), 1, g_input.size(), file);
  std::fclose(file);
  return true;
}

void keep_finding() {
  const std::string path = g_findings + "/input-" + std::to_string(g_runs);
  if (keep(path)) std::fprintf(stderr, "input kept: %s (run %ld)\n", path.c_str(), g_runs);
}

void on_signal(int number) {
  keep_finding();
  ::signal(number, SIG_DFL);
  ::raise(number);
}

bool bucketed_news() {
  bool news = false;
  for (std::size_t i = 0; i < sizeof g_hits; ++i) {
    std::uint64_t eight;  // the map is nearly empty
    if (i % 8 == 0 && (std::memcpy(&eight, g_hits + i, 8), eight == 0)) {
      i += 7;
      continue;
    }
    if (g_hits[i] == 0) continue;
    unsigned char bucket = 1;
    while (bucket < 128 && bucket * 2 <= g_hits[i]) bucket = static_cast<unsigned char>(bucket * 2);
    if ((g_seen[i] & bucket) == 0) news = true;
    g_seen[i] |= bucket;
    g_hits[i] = 0;
  }
  return news;
}

bool run(std::string input) {
  g_input = std::move(input);
  ++g_runs;
  ::alarm(kHangSeconds);
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(g_input.data()), g_input.size());
  ::alarm(0);
  return bucketed_news();
}

std::vector<std::string> load(const std::string& directory) {
  std::vector<std::string> out;
  DIR* dir = ::opendir(directory.c_str());
  if (dir == nullptr) return out;
  while (const dirent* entry = ::readdir(dir))
    if (entry->d_name[0] != '.')
      if (auto text = stella::read_file(directory + "/" + entry->d_name, kMaxBytes)) out.push_back(std::move(*text));
  ::closedir(dir);
  return out;
}

std::string mutate(const std::vector<std::string>& corpus, std::mt19937_64& random) {
  const auto below = [&](std::size_t n) { return n == 0 ? 0 : random() % n; };
  std::string s = corpus[below(corpus.size())];
  for (std::size_t rounds = 1 + below(6); rounds > 0; --rounds) {
    const std::size_t at = below(s.size() + 1);
    switch (below(7)) {
      case 0: if (at < s.size()) s[at] = static_cast<char>(s[at] ^ (1 << below(8))); break;
      case 1: s.insert(at, 1, "{}[]\",:@/%-+.0129aeE\\\n \x80\xff"[below(25)]); break;
      case 2: s.erase(at, 1 + below(16)); break;
      case 3: s.insert(at, s.substr(below(s.size() + 1), 1 + below(32))); break;  // a piece of itself
      case 4: if (const std::string& other = corpus[below(corpus.size())]; !other.empty()) s.insert(at, other.substr(below(other.size()), 1 + below(64))); break;
      case 5: s = s.substr(0, at) + corpus[below(corpus.size())].substr(0, kMaxBytes / 2); break;
      default: s.insert(at, std::to_string(static_cast<std::int64_t>(random() >> below(64)))); break;
    }
    if (s.size() > kMaxBytes) s.resize(kMaxBytes);
  }
  return s;
}

}  // namespace

// Called by the instrumented code on every edge; the first time by our __asan_default_options, when AddressSanitizer has no shadow memory yet.
extern "C" __attribute__((no_sanitize("address", "undefined"))) void __sanitizer_cov_trace_pc() {
  static thread_local std::uintptr_t previous = 0;
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  unsigned char& hit = g_hits[(here ^ (previous << 1) ^ (here >> kMapBits)) & (sizeof g_hits - 1)];
  if (hit != 255) ++hit;
  previous = here;
}

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fputs("usage: PROGRAM SECONDS|RUNSx CORPUS_DIR FINDINGS_DIR [SEED]\n", stderr);
    return 64;
  }
  const std::string corpus_dir = argv[2];
  g_findings = argv[3];
  const std::uint64_t seed = argc > 4 ? std::strtoull(argv[4], nullptr, 10) : std::random_device{}();
  std::mt19937_64 random(seed);
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(keep_finding);
  ::signal(SIGABRT, on_signal);
  if (__sanitizer_set_death_callback == nullptr)  // else these are the sanitizers' own
    for (const int number : {SIGSEGV, SIGBUS, SIGFPE}) ::signal(number, on_signal);
  ::signal(SIGALRM, on_signal);
  std::vector<std::string> corpus = load(corpus_dir);
  for (const std::string& input : corpus) run(input);
  if (corpus.empty()) corpus.push_back("{}");
  const std::string_view wanted = argv[1];
  if (wanted.ends_with('x')) {
    for (long i = std::atol(argv[1]); i > 0; --i) run(mutate(corpus, random));
    std::printf("%ld runs, %zu inputs\n", g_runs, corpus.size());
    return 0;
  }
  const std::time_t end = std::time(nullptr) + std::atol(argv[1]);
  while (std::time(nullptr) < end)
    for (int i = 0; i < 100; ++i) {
      if (!run(mutate(corpus, random))) continue;
      corpus.push_back(g_input);
      (void)keep(corpus_dir + "/" + std::to_string(seed) + "-" + std::to_string(g_runs));
    }
  std::printf("%ld runs, %zu inputs\n", g_runs, corpus.size());
  return 0;
}
