// Log lines of guardian and worker: one JSON object each on stderr, which the guardian points at <state>/native.log.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

using LogField = std::pair<const char*, std::string>;

void logEvent(const std::string& event, std::initializer_list<LogField> fields = {});
