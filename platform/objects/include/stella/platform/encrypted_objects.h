// A store whose objects are encrypted at rest, in front of any driver. What is encrypted, and under whose key, is the caller's rule.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/crypto/kms.h"
#include "stella/platform/objects.h"

namespace stella::objects {

// What the rule says of one object.
struct Encryption {
  std::string key_id;                      // of the key that wraps its data key: its newest version does, each of its versions reads
  std::optional<Sha256> content = {};      // what its name says its bytes are, where it says so
};

struct EncryptionOptions {
  std::shared_ptr<crypto::Kms> kms;
  // nullopt for objects that always stand in the clear. Pure; called from any thread.
  std::function<std::optional<Encryption>(std::string_view key)> rule;
  bool encrypt = true;            // false: new objects stand in the clear, those that are encrypted are still read
  std::string spool_dir = "/tmp";  // files without a name, as large as the largest object
};

// Each object that the rule names is an envelope (crypto/envelope.h): a data key of its own, wrapped under the rule's key and bound to the
// object's key. So the bytes of one object open under no other key of the store, and under no other tenant's. Keys that are missing are made.
//
// Objects from before are read as they are; where encryption is on and their name says what they are, they are read to their end first: bytes
// that somebody put in the clear in the place of an encrypted object are refused. An object in the clear that happens to begin like an envelope
// is told apart by its name, else it is refused in writing (kInvalid).
//
// stat() and list() tell the stored size, which is up to 1.2 KB and a four-thousandth larger. open() gives a decrypted, checked copy without a
// name in spool_dir. Errors beside those of the driver: kInvalid with reason=not_authentic for bytes that are altered, moved, cut off or put in
// the clear; kUnavailable with part=keys where the key store is away, damaged, replaced or lets nobody in; kConflict with reason=key_destroyed where the key is gone.
std::unique_ptr<Store> open_encrypted_store(std::unique_ptr<Store> store, EncryptionOptions options);

}  // namespace stella::objects
