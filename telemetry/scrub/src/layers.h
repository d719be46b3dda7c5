// Encodings: the same rules on what a text says once it is decoded.
#pragma once

#include <string_view>

#include "find.h"

namespace stella::telemetry::scrubbing {

// Hits in the text after its JSON escapes, in positions of the text itself.
void find_in_json_escapes(std::string_view text, Hits& hits, Layers layers, Engine engine);
// The same for words with %XX in them.
void find_in_percent(std::string_view text, Hits& hits, Layers layers, Engine engine);

}  // namespace stella::telemetry::scrubbing
