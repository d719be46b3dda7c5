// The ambient context of a thread.
#include "stella/telemetry/context.h"

namespace stella::telemetry {
namespace {
thread_local Context t_context;
}

const Context& Context::current() { return t_context; }
Context& Context::edit() { return t_context; }

Context Context::continue_from(const RemoteContext& remote) {
  Context context;
  context.trace_id = remote.parent.trace_id;
  context.span_id = remote.parent.span_id;
  context.flags = remote.parent.flags;
  context.tracestate = remote.tracestate;
  return context;
}

ContextScope::ContextScope(Context context) : saved_(std::move(t_context)) { t_context = std::move(context); }
ContextScope::~ContextScope() { t_context = std::move(saved_); }

}  // namespace stella::telemetry
