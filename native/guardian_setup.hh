// The guardian's start and end: directories, lock, detaching, mounts, socket, and the one line it reports to who started it.
#pragma once

#include "fuse_mount.hh"
#include "guardian.hh"

struct GuardianParts {
  Fd lock;
  Fd signals;
  FuseMount mount;
  Fd slots;  // memory for requests that are read and not answered
  Fd listener;
};

/** Makes it (0700) if need be; its absolute path. */
std::string prepareDirectory(const std::string& path);
/** Runs in the daemon. A Failure leaves no mount behind. */
GuardianParts setUpGuardian(const std::string& state, const GuardianOptions& options);
/** In the child that was forked for it: execs the worker with its descriptors, `link` among them. */
[[noreturn]] void becomeWorker(const GuardianParts& parts, int link);
/** `stopped`: on purpose. Else the socket stays and refuses: control starts another guardian. */
void removeTraces(const std::string& state, const Fd& lock, bool stopped);

std::string guardianJson(const std::string& state);
void writeReady(int pipe, const std::string& line);
/** The JSON line, or the Failure that was reported as `errno text`. */
std::string readReady(int pipe);
