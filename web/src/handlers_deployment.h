// The deployment log as its tenants see it.
#pragma once

#include "stella/web/context.h"

namespace stella::web::handlers {

Result<http::Response> get_deployment_checkpoint(Context&);

}  // namespace stella::web::handlers
