// The platform on this machine: stella up, down, status, doctor, demo. Registered by apps/stella.
#pragma once

namespace stella::cli {

class App;

void register_up(App& app);

}  // namespace stella::cli
