// stella: the command line. Wiring only: which modules' commands there are.
#include "stella/cli/app.h"
#include "stella/cli/commands.h"
#include "stella/cli/forensics/commands.h"
#include "stella/cli/obs/commands.h"
#include "stella/cli/up.h"

int main(int argc, char** argv) {
  stella::cli::App app;
  stella::cli::register_access(app);
  stella::cli::register_documents(app);
  stella::cli::register_evaluations(app);
  stella::cli::register_obs(app);
  stella::cli::register_forensics(app);
  stella::cli::register_up(app);
  stella::cli::register_general(app);
  return app.main(argc, argv);
}
