// Writes down which regular files a container opens: waits for the root filesystem of container ID to be mounted, marks its
// superblock with fanotify(7), so that page cache and chunk cache hide nothing, and prints one path a line until stdin ends.
#pragma once

#include <string>

/** First line `watching ROOTFS`; answers `done`. Throws Failure, EOVERFLOW when the kernel dropped events. */
std::string recordOpens(const std::string& container);
