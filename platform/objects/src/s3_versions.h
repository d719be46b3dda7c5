// Versions of an object on S3 and the locks on them.
#pragma once

#include <string>
#include <vector>

#include "s3_client.h"

namespace stella::objects {

struct S3Version {
  std::string id;
  bool marker = false;  // a delete marker: no bytes, hides the versions before it
};

// Newest first; empty where the key never existed.
Result<std::vector<S3Version>> versions_of(S3Client& client, const std::string& key);
// The lock of one version; no mode and no hold where the bucket has no Object Lock.
Result<ObjectLock> lock_of(S3Client& client, const std::string& key, const std::string& version);
// The strongest over all versions; kNotFound.
Result<ObjectLock> lock_of_all(S3Client& client, const std::string& key);

// For PUT and CreateMultipartUpload; empty for no lock.
sigv4::Pairs lock_headers(const ObjectLock& lock);
// The reply to PUT ?retention, whatever it is. `bypass` asks to go over a governance lock.
Result<S3Reply> put_retention(S3Client& client, const std::string& key, const std::string& version, const ObjectLock& lock, bool bypass = false);
Result<S3Reply> put_hold(S3Client& client, const std::string& key, const std::string& version, bool on);
Result<S3Reply> delete_version(S3Client& client, const std::string& key, const std::string& version, bool bypass = false);

// Every version gets at least this; nothing is shortened. kNotFound.
Result<void> raise_lock(S3Client& client, const std::string& key, const ObjectLock& lock);
Result<void> set_hold(S3Client& client, const std::string& key, bool on);
// kConflict while a lock holds; kNotFound.
Result<void> remove_all(S3Client& client, const std::string& key);

}  // namespace stella::objects
