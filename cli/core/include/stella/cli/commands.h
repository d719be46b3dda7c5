// Registration of the core commands. Other modules (obs, forensics, up) offer functions of the same form.
#pragma once

namespace stella::cli {

class App;

void register_access(App& app);      // login, logout, me, tenant, project, principal
void register_documents(App& app);   // sbom, advisory, vex, policy
void register_evaluations(App& app); // evaluate, findings, export, job
void register_general(App& app);     // completion, version

}  // namespace stella::cli
