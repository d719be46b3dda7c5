// Registration of the forensic commands: forensic snapshot, get, verify, verify-script, replay, attest.
#pragma once

namespace stella::cli {

class App;

void register_forensics(App& app);

}  // namespace stella::cli
