// The ambient context of a thread.
#include "stella/telemetry/context.h"

#include "producer.h"
#include "sampling_policy.h"
#include "stella/telemetry/propagation.h"

namespace stella::telemetry {

using detail::producer;

const Context& Context::current() { return *producer().context; }
Context& Context::mutable_current() { return *producer().context; }
void Context::edited() {
  detail::Producer& p = producer();
  p.changed();
  if (p.context->started_here) detail::decide_again(*p.context);
}

Context Context::continue_from(const RemoteContext& remote) {
  Context context;
  context.trace_id = remote.parent.trace_id;
  context.span_id = remote.parent.span_id;
  context.flags = remote.parent.flags;
  context.tracestate = remote.tracestate;
  context.remote = true;
  context.threshold = detail::threshold_of(remote.tracestate);
  return context;
}

Context Context::continue_from(std::string_view traceparent, std::string_view tracestate) {
  Extractor stored;
  stored.traceparent(traceparent);
  stored.tracestate(tracestate);
  const auto remote = stored.remote();
  return remote ? continue_from(*remote) : Context();
}

ContextScope::ContextScope(Context context) : context_(std::move(context)) {
  detail::Producer& p = producer();
  saved_ = p.context;
  p.context = &context_;
  p.changed();
}

ContextScope::~ContextScope() {
  detail::Producer& p = producer();
  p.context = saved_;
  p.changed();
}

}  // namespace stella::telemetry
