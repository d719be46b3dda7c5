// Unfinished multipart uploads.
#include "s3_leftovers.h"

#include "driver.h"
#include "s3_xml.h"

namespace stella::objects {
namespace {

constexpr int kPages = 100;  // of a thousand each: the rest is for tomorrow

struct Stale {
  std::string key, id;
};

// Takes from one page what is ours and old enough.
void take_page(const XmlNode& page, Timestamp begun_before, std::vector<Stale>& out) {
  for (const auto& node : page.children) {
    if (node.name != "Upload") continue;
    const auto begun = Timestamp::parse(node.str("Initiated"));
    std::string key(node.str("Key")), id(node.str("UploadId"));
    if (begun && *begun < begun_before && !id.empty() && check_key(key)) out.push_back({std::move(key), std::move(id)});
  }
}

}  // namespace

Result<int> abort_stale_uploads(S3Client& client, Timestamp begun_before) {
  std::vector<Stale> stale;
  S3Call call;
  call.query = {{"uploads", ""}};
  for (int number = 0; number < kPages; ++number) {
    const auto reply = STELLA_TRY(client.call(call));
    if (reply.status == 501 || reply.code == "NotImplemented") return 0;
    if (!reply.ok()) return client.failure(reply, "");
    const auto page = STELLA_TRY(parse_xml(reply.body));
    take_page(page, begun_before, stale);
    const std::string key(page.str("NextKeyMarker")), id(page.str("NextUploadIdMarker"));
    if (page.str("IsTruncated") != "true" || key.empty()) break;
    call.query = {{"uploads", ""}, {"key-marker", key}, {"upload-id-marker", id}};
  }
  int aborted = 0;
  for (const auto& upload : stale) {
    S3Call abort;
    abort.method = "DELETE";
    abort.key = upload.key;
    abort.query = {{"uploadId", upload.id}};
    const auto reply = STELLA_TRY(client.call(abort));
    if (!reply.ok() && reply.status != 404) return client.failure(reply, upload.key);
    ++aborted;
  }
  return aborted;
}

}  // namespace stella::objects
