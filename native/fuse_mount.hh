// Mounting the FUSE file system and answering its INIT: done once, by the guardian.
#pragma once

#include "support.hh"

struct FuseMount {
  Fd device;
  bool canResend = false;  // Linux 6.9 and later; before that, and when it is not wanted, the slots tell what was unanswered
};

FuseMount mountFuse(const std::string& directory, bool wantResend);
