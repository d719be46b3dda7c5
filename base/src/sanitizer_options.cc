// What the sanitizers are told in every program of a sanitized build, so that children that a test starts know it, too.
extern "C" {

// A race between calls of a library that is not instrumented is not seen from outside: its atomics and futexes are invisible. clone(CLONE_VM |
// CLONE_VFORK) is taken for a fork, which would end the program at its next thread.
const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1:die_after_fork=0:second_deadlock_stack=1:exitcode=66"; }
const char* __tsan_default_suppressions() {
  return
      // Debian's libraries are not instrumented; their callbacks run our code with an order that ThreadSanitizer cannot see.
      "race:libgrpc\n"
      "race:libabsl\n"
      "race:libssl\n"
      "race:libcrypto\n"
      "race:libcurl\n"
      "mutex:libgrpc\n"
      "deadlock:libgrpc\n";
}

const char* __asan_default_options() { return "detect_stack_use_after_return=1:strict_string_checks=1"; }
const char* __ubsan_default_options() { return "print_stacktrace=1:halt_on_error=1"; }
}
