// For tests: keeps every record as it was pushed, and takes the place of the outlet while it lives.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "stella/telemetry/record.h"

namespace stella::telemetry {

class CaptureOutlet final : public Outlet {
 public:
  CaptureOutlet() : previous_(install_outlet(this)) {}
  ~CaptureOutlet() override { install_outlet(previous_); }
  void push(std::string_view record) noexcept override {
    const std::lock_guard lock(mutex_);
    records_.emplace_back(record);
  }
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return records_.size();
  }
  // Valid while nothing is pushed. Precondition: index < size().
  RecordView at(std::size_t index) const {
    const std::lock_guard lock(mutex_);
    return *RecordView::parse(records_.at(index));
  }
  RecordView last() const { return at(size() - 1); }
  void clear() {
    const std::lock_guard lock(mutex_);
    records_.clear();
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> records_;
  Outlet* previous_;
};

}  // namespace stella::telemetry
