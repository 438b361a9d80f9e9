// /proc/self/mountinfo as values: what is mounted where, octal escapes decoded, oldest mount first.
#pragma once

#include <string>
#include <string_view>
#include <vector>

struct MountEntry {
  unsigned major = 0;
  unsigned minor = 0;
  std::string point;
  std::string type;
  std::string source;
};

/** Decodes the \040-style escapes of mountinfo fields (proc(5)). */
std::string decodeMountField(std::string_view field);

std::vector<MountEntry> parseMountInfo(std::string_view text);
std::vector<MountEntry> readMountInfo();

/** Strictly below: /a/b is below /a, /a and /ab are not. */
bool isBelow(std::string_view path, std::string_view directory);
