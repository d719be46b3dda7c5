// Compared under another name first.
#include "stella/cli/download.h"

#include <stdio.h>
#include <unistd.h>

#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"

namespace stella::cli {

Result<Downloaded> download(Api& api, Call call, const std::string& path, std::string_view sha256) {
  call.save_to = path + ".unchecked-" + std::to_string(::getpid());
  const struct Removal {
    const std::string& name;
    ~Removal() { ::unlink(name.c_str()); }  // nothing where it was renamed
  } removal{call.save_to};
  auto response = STELLA_TRY(api.send(call));
  std::string expected(sha256.empty() ? response.header("etag") : sha256);
  std::erase(expected, '"');
  const auto digest = STELLA_TRY(crypto::sha256_file(call.save_to));
  if (expected.empty()) return Error(contracts::errors::kIntegrity, "the server does not say which digest the file has").with("path", path).with("remedy", "Nothing was kept. Is there a proxy that drops the ETag?");
  if (expected != digest.sha256.hex())
    return Error(contracts::errors::kIntegrity, "the file is not what it should be").with("path", path).with("expected", expected).with("actual", digest.sha256.hex()).with("remedy", "Nothing was kept; get it again.");
  if (::rename(call.save_to.c_str(), path.c_str()) != 0) return io_error("cannot keep the file", path);
  STELLA_TRY_VOID(sync_parent_dir(path));
  return Downloaded{.sha256 = digest.sha256, .size = digest.size, .response = std::move(response)};
}

}  // namespace stella::cli
