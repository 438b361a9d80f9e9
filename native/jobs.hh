// `jobs`: one small process that forks a child for each mount job. A fork of the daemon copies the page tables of hundreds of
// MiB and stops its thread for that long; a fork of this one takes a fraction of a millisecond. docs/PROTOCOL.md has the bytes.
#pragma once

#include <functional>
#include <string>
#include <vector>

/** Runs one job in a child: fills the line to report (empty on success) and returns its exit status. */
using JobRunner = std::function<int(const std::vector<std::string>& words, std::string& line)>;

/** Reads requests from stdin and answers on stdout until stdin ends. Jobs run beside each other. */
void serveJobs(const JobRunner& run);
