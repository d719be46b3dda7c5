// Registration of the observability commands: obs trace, obs health, obs settings, timeline list, timeline show.
#pragma once

namespace stella::cli {

class App;

void register_obs(App& app);

}  // namespace stella::cli
