// The half of the data plane that must not fail: it owns /dev/fuse and the tables, keeps one worker alive, and parses nothing
// that a stranger wrote. It ends on SIGTERM or STOP after unmounting all below its state directory.
#pragma once

#include <string>

struct GuardianOptions {
  bool resend = true;  // false: behave as on kernels before 6.9, which cannot
};

/** Starts the guardian as a daemon; returns its JSON line once a worker serves. Failure(EBUSY) when one has this directory already. */
std::string startGuardian(const std::string& state, const GuardianOptions& options);

/** Asks the guardian of `state` to end and waits for it; says in JSON whether there was one. Failure(ETIMEDOUT) when it does not end. */
std::string stopGuardian(const std::string& state);
