// Mounting the FUSE file system and answering its INIT: done once, by the guardian.
#pragma once

#include "support.hh"

struct FuseMount {
  Fd device;
  bool canResend = false;  // Linux 6.9 and later; before that a killed worker's unanswered requests are lost
};

FuseMount mountFuse(const std::string& directory);
