// Tells the service manager that started the daemon how it is: the protocol of sd_notify(3).
#pragma once

#include <string>

/** Sends `state`, such as READY=1, and returns when the manager has read it; false when nobody asked to be told. Throws Failure. */
bool notifyManager(const std::string& state);
